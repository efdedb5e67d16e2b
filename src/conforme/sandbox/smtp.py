"""A mail server on loopback that keeps every message and delivers none (RFC 5321, the part that clients use)."""

import asyncio
import base64
import email
import email.policy
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import TracebackType
from typing import Self

LARGEST_MESSAGE_BYTES = 10 * 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Mail:
    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.default)


@dataclass(slots=True)
class _Envelope:
    sender: str | None = None
    recipients: list[str] = field(default_factory=list[str])


class SmtpSink:
    """`async with SmtpSink() as smtp: smtp.port, smtp.mails`."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refusal: str | None = None
        """When set, for example `451 try again later`, every message is answered with it and dropped."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", port, limit=LONGEST_LINE_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        if session is not None:
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
        try:
            await _Session(self, reader, writer).run()
        except (asyncio.CancelledError, ConnectionError, ValueError):
            # The client left, the line was too long, or the server stops: the conversation ends either way.
            pass
        finally:
            writer.close()


class _Session:
    """One conversation: a command a line, a reply a line."""

    def __init__(self, sink: SmtpSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sink = sink
        self._reader = reader
        self._writer = writer
        self._envelope = _Envelope()

    async def run(self) -> None:
        await self._say("220 sandbox ready")
        while line := await self._reader.readline():
            command, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
            if command.upper() == "QUIT":
                await self._say("221 bye")
                return
            await self._obey(command.upper(), argument.strip())

    async def _obey(self, command: str, argument: str) -> None:
        if command == "DATA":
            await self._take()
        elif command == "AUTH":
            await self._login(argument)
        else:
            await self._say(self._answers().get(command, lambda _: "500 unknown command")(argument))

    def _answers(self) -> dict[str, Callable[[str], str]]:
        return {
            "EHLO": lambda _: (
                f"250-sandbox\r\n250-SIZE {LARGEST_MESSAGE_BYTES}\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
            ),
            "HELO": lambda _: "250 sandbox",
            "MAIL": self._from,
            "RCPT": self._to,
            "RSET": self._reset,
            "NOOP": lambda _: "250 ok",
        }

    def _from(self, argument: str) -> str:
        self._envelope = _Envelope(sender=_address(argument))
        return "250 ok"

    def _to(self, argument: str) -> str:
        if self._envelope.sender is None:
            return "503 MAIL first"
        self._envelope.recipients.append(_address(argument))
        return "250 ok"

    def _reset(self, _: str) -> str:
        self._envelope = _Envelope()
        return "250 ok"

    async def _take(self) -> None:
        envelope = self._envelope
        if envelope.sender is None or not envelope.recipients:
            await self._say("503 MAIL and RCPT first")
            return
        await self._say("354 end with a dot alone")
        raw = await self._message()
        if len(raw) > LARGEST_MESSAGE_BYTES:
            await self._say("552 message too large")
        elif self._sink.refusal is not None:
            await self._say(self._sink.refusal)
        else:
            self._sink.mails.append(Mail(envelope.sender, tuple(envelope.recipients), raw))
            await self._say("250 kept")
        self._envelope = _Envelope()

    async def _message(self) -> bytes:
        """Lines up to a dot alone, their doubled leading dots undone; no more than one byte over the limit."""
        message = bytearray()
        while (line := await self._reader.readline()) not in {b".\r\n", b".\n", b""}:
            if len(message) <= LARGEST_MESSAGE_BYTES:
                message += line.removeprefix(b".") if line.startswith(b"..") else line
        return bytes(message)

    async def _login(self, argument: str) -> None:
        """Any name and password will do."""
        mechanism, _, initial = argument.partition(" ")
        asked = {"PLAIN": [""], "LOGIN": ["Username:", "Password:"]}.get(mechanism.upper())
        if asked is None:
            await self._say("504 unknown mechanism")
            return
        for prompt in asked[1:] if initial else asked:
            await self._say(f"334 {base64.b64encode(prompt.encode()).decode()}")
            await self._reader.readline()
        await self._say("235 welcome")

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()


def _address(argument: str) -> str:
    """`FROM:<a@example.test> SIZE=3` is `a@example.test`."""
    _, _, after = argument.partition("<")
    return after.partition(">")[0] if after else argument.partition(":")[2].strip()
