"""Mail by SMTP, to the server the operator configured: one attempt per call, bounded in time.

Its errors say whether trying again may help; who retries is the caller's job.
"""

import asyncio
import contextlib
import smtplib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import structlog

from conforme.foundation.errors import External, Misconfigured
from conforme.foundation.redaction import redact_text
from conforme.settings import Settings

log = structlog.get_logger(__name__)

IMPLICIT_TLS_PORT = 465
MAX_SUBJECT = 200
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_ANSWERS_BYTES = 262_144
"""More than a server has to say in a whole conversation."""
PERMANENT = 500
"""Answers of a mail server from here on are final (RFC 5321 §4.2.1)."""


class MailFailed(External):
    """The mail server did not take the message"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message in two forms of the same content."""

    id: str
    """Unique among our own and the same at every attempt: a server that got it twice can tell."""
    to: Sequence[str]
    subject: str
    text: str
    html: str


def is_configured(settings: Settings) -> bool:
    """Whether there is a server, and a sender."""
    return settings.smtp_host is not None and sender_of(settings) is not None


def sender_of(settings: Settings) -> str | None:
    return settings.smtp_from or settings.smtp_user


async def send(settings: Settings, letter: Letter) -> None:
    """Hands the letter to the server: it has so long until it asks for the letter, and as long again to take it.

    Whoever gives up is whoever sends: nothing goes out afterwards.

    Raises:
        Misconfigured: there is no server, or no sender.
        MailFailed: the server could not be reached, or refused.
    """
    sender = sender_of(settings)
    if settings.smtp_host is None or sender is None:
        raise Misconfigured("Mail needs SMTP_HOST and SMTP_FROM (or SMTP_USER)")
    message = message_of(letter, sender, host_of(settings, sender))
    try:
        await asyncio.to_thread(_deliver, settings, settings.smtp_host, message)
    except TimeoutError:
        raise MailFailed("The mail server did not answer in time", retryable=True) from None
    except smtplib.SMTPResponseException as error:
        final = error.smtp_code >= PERMANENT
        raise MailFailed(f"The mail server answered {error.smtp_code}", retryable=not final) from None
    except smtplib.SMTPRecipientsRefused as error:
        later = any(code < PERMANENT for code, _ in error.recipients.values())
        raise MailFailed("The mail server refused every recipient", retryable=later) from None
    except (smtplib.SMTPException, OSError) as error:
        if isinstance(error.__context__, TimeoutError):  # the library tells of it as of a lost connection
            raise MailFailed("The mail server did not answer in time", retryable=True) from None
        reason = type(error).__name__
        raise MailFailed(f"The mail server could not be reached ({reason})", retryable=True) from None


def host_of(settings: Settings, sender: str) -> str:
    """What follows the @ of our message ids: the name of this installation, else where its mail comes from. Pure."""
    own = urlsplit(settings.api_base_url).hostname
    if own and own.isascii() and ":" not in own and own not in _THIS_MACHINE:
        return own
    return sender.rpartition("@")[2].rstrip("> ")


def message_of(letter: Letter, sender: str, host: str) -> EmailMessage:
    """The letter as it goes over the wire. What came from outside cannot add a header: lines are joined.

    Raises:
        MailFailed: an address cannot be one.
    """
    message = EmailMessage()
    try:
        message["From"] = Address(addr_spec=sender) if "<" not in sender else sender
        message["To"] = ", ".join(str(Address(addr_spec=each)) for each in letter.to)
    except (MessageError, ValueError, IndexError):
        raise MailFailed("A mail address is malformed") from None
    message["Subject"] = redact_text(" ".join(letter.subject.split()))[:MAX_SUBJECT]
    message["Message-ID"] = f"<{letter.id}@{host}>"
    message["Date"] = formatdate(usegmt=True)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


class _Answers:
    """What a server says, line by line, as long as the conversation may last: each byte that comes late counts."""

    def __init__(self, conversation: "_Timed") -> None:
        self._conversation = conversation
        self._ahead = b""
        self._left = MAX_ANSWERS_BYTES

    def readline(self, limit: int) -> bytes:
        while b"\n" not in self._ahead and len(self._ahead) < limit:
            some = self._conversation.receive()
            if not some:
                break
            self._ahead += some
            self._left -= len(some)
            if self._left < 0:
                raise ConnectionAbortedError("The mail server says too much")
        end = min(self._ahead.find(b"\n") + 1 or limit, limit)
        line, self._ahead = self._ahead[:end], self._ahead[end:]
        return line

    def close(self) -> None:
        self._ahead = b""


class _Timed(smtplib.SMTP):
    """A conversation that is over in time: a letter that the server has not asked for by then is not sent."""

    def __init__(self, host: str, port: int, *, seconds: float, **given: Any) -> None:
        self.seconds, self.until = seconds, time.monotonic() + seconds
        super().__init__(host, port, timeout=seconds, **given)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Answers(self)
        return super().getreply()

    def receive(self) -> bytes:
        """What the server has said by now, or says next; nothing when it has left."""
        if self.sock is None:
            return b""
        self.sock.settimeout(self._left())
        return self.sock.recv(4096)

    def putcmd(self, cmd: str, args: str = "") -> None:
        left = self._left()
        if cmd == "data":
            # A server that is left while it takes a letter may have taken it: that is to be rare.
            left, self.until = self.seconds, time.monotonic() + self.seconds
        if self.sock is not None:
            self.sock.settimeout(left)
        super().putcmd(cmd, args)

    def _left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _TimedTls(_Timed, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


def _connected(settings: Settings, host: str, context: ssl.SSLContext) -> _Timed:
    seconds = settings.smtp_timeout_ms / 1000
    if settings.smtp_secure or settings.smtp_port == IMPLICIT_TLS_PORT:
        return _TimedTls(host, settings.smtp_port, seconds=seconds, context=context)
    return _Timed(host, settings.smtp_port, seconds=seconds)


def _deliver(settings: Settings, host: str, message: EmailMessage) -> None:
    context = ssl.create_default_context()
    with contextlib.closing(_connected(settings, host, context)) as server:
        server.ehlo()
        if not isinstance(server, smtplib.SMTP_SSL) and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        if settings.smtp_user and settings.smtp_pass:
            if not isinstance(server.sock, ssl.SSLSocket) and host not in _THIS_MACHINE:
                raise MailFailed("The mail server offers no TLS: the password was not sent")
            server.login(settings.smtp_user, settings.smtp_pass.get_secret_value())
        if refused := server.send_message(message):
            log.warning("mail was refused for some of its recipients", refused=len(refused))
        with contextlib.suppress(
            smtplib.SMTPException, OSError
        ):  # it is taken, whatever is said to our leaving
            server.quit()
