"""Mail by SMTP, to the server the operator configured: one attempt per call, bounded in time.

Its errors say whether trying again may help; who retries is the caller's job.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate

import structlog

from conforme.foundation.errors import External, Misconfigured
from conforme.foundation.redaction import redact_text
from conforme.settings import Settings

log = structlog.get_logger(__name__)

IMPLICIT_TLS_PORT = 465
MAX_SUBJECT = 200
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
PERMANENT = 500
"""Answers of a mail server from here on are final (RFC 5321 §4.2.1)."""


class MailFailed(External):
    """The mail server did not take the message"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message in two forms of the same content."""

    id: str
    """Unique and the same at every attempt: a server that got it twice can tell."""
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
    """Hands the letter to the server.

    Raises:
        Misconfigured: there is no server, or no sender.
        MailFailed: the server could not be reached, or refused.
    """
    sender = sender_of(settings)
    if settings.smtp_host is None or sender is None:
        raise Misconfigured("Mail needs SMTP_HOST and SMTP_FROM (or SMTP_USER)")
    message = message_of(letter, sender)
    seconds = settings.smtp_timeout_ms / 1000
    try:
        async with asyncio.timeout(seconds):
            # The library blocks: its sockets have the same limit, so that no thread is left behind for long.
            await asyncio.to_thread(_deliver, settings, settings.smtp_host, message, seconds)
    except TimeoutError:
        raise MailFailed("The mail server did not answer in time", retryable=True) from None
    except smtplib.SMTPResponseException as error:
        final = error.smtp_code >= PERMANENT
        raise MailFailed(f"The mail server answered {error.smtp_code}", retryable=not final) from None
    except smtplib.SMTPRecipientsRefused as error:
        later = any(code < PERMANENT for code, _ in error.recipients.values())
        raise MailFailed("The mail server refused every recipient", retryable=later) from None
    except (smtplib.SMTPException, OSError) as error:
        reason = type(error).__name__
        raise MailFailed(f"The mail server could not be reached ({reason})", retryable=True) from None


def message_of(letter: Letter, sender: str) -> EmailMessage:
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
    message["Message-ID"] = f"<{letter.id}>"
    message["Date"] = formatdate(usegmt=True)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def _deliver(settings: Settings, host: str, message: EmailMessage, seconds: float) -> None:
    context = ssl.create_default_context()
    if settings.smtp_secure or settings.smtp_port == IMPLICIT_TLS_PORT:
        server = smtplib.SMTP_SSL(host, settings.smtp_port, timeout=seconds, context=context)
    else:
        server = smtplib.SMTP(host, settings.smtp_port, timeout=seconds)
    with server:
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
