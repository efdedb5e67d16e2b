"""Who is told of the end of a run, and in which words."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from run_room import Room

from conforme.automation import notices
from conforme.automation.notices import Report, letter_of, webhook_body
from conforme.automation.run_reads import Result
from conforme.foundation import mail
from conforme.foundation.errors import Misconfigured
from conforme.foundation.mail import Letter, MailFailed
from conforme.foundation.resources import Resources
from conforme.sandbox.smtp import SmtpSink
from conforme.settings import Settings

REPORT = Report(
    run_id=12,
    attempt=1,
    schedule_id=3,
    schedule_name="Chaque nuit",
    status="partial",
    duration_seconds=95,
    total=3,
    successful=2,
    failed=1,
    ignored=4,
    transcriptions=5,
    audits=2,
    error=None,
    crashed=False,
    failures=(Result("1001", "The CRM <does> not answer", None),),
    url="https://conforme.example.test/api/automation/runs/12",
)
LETTER = letter_of(REPORT, ["equipe@example.test"])


def test_the_webhook_tells_what_the_contract_says() -> None:
    assert webhook_body(REPORT) == {
        "schedule_id": "3",
        "schedule_name": "Chaque nuit",
        "run_id": "12",
        "status": "partial",
        "duration_seconds": 95,
        "total_fiches": 3,
        "successful_fiches": 2,
        "failed_fiches": 1,
        "ignored_fiches": 4,
        "transcriptions_run": 5,
        "audits_run": 2,
        "failures": [{"ficheId": "1001", "error": "The CRM <does> not answer"}],
    }
    crashed = replace(REPORT, crashed=True, status="failed", error="No audit configs resolved", failures=())
    assert webhook_body(crashed) == {
        "schedule_id": "3",
        "schedule_name": "Chaque nuit",
        "run_id": "12",
        "status": "failed",
        "duration_seconds": 95,
        "error": "No audit configs resolved",
    }


def test_the_mail_has_the_counters_the_failures_and_a_link_in_both_its_forms() -> None:
    assert LETTER.subject == "Automation Chaque nuit - PARTIAL"
    for line in (
        "Status: PARTIAL",
        "Total fiches: 3",
        "Ignored: 4",
        "- 1001: The CRM <does> not answer",
        REPORT.url,
    ):
        assert line in LETTER.text
    assert "The CRM &lt;does&gt; not answer" in LETTER.html
    assert f'href="{REPORT.url}"' in LETTER.html
    crashed = letter_of(replace(REPORT, crashed=True, error="No dates", failures=()), ["a@example.test"])
    assert "Automation failed with error: No dates" in crashed.text


def test_more_failures_than_are_listed_are_counted() -> None:
    assert "… and 9 more" in letter_of(replace(REPORT, failed=10), ["a@example.test"]).text


def test_a_name_cannot_add_a_header() -> None:
    hostile = letter_of(replace(REPORT, schedule_name="Nuit\r\nBcc: x@example.test"), ["a@example.test"])
    message = mail.message_of(hostile, "nuit@example.test", "example.test")
    assert message["Bcc"] is None
    assert message["Subject"].startswith("Automation Nuit Bcc:")


@pytest.mark.parametrize("address", ["", "no address", "a@b\r\nBcc: c@example.test"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(MailFailed):
        mail.message_of(replace(LETTER, to=[address]), "nuit@example.test", "example.test")


async def test_mail_goes_to_the_server_as_text_and_html_under_one_id() -> None:
    async with SmtpSink() as sink:
        settings = Settings(smtp_host="127.0.0.1", smtp_port=sink.port, smtp_from="nuit@example.test")
        await mail.send(settings, LETTER)
        await mail.send(settings, LETTER)
        assert [each.recipients for each in sink.mails] == [("equipe@example.test",)] * 2
        assert len({each.message["Message-ID"] for each in sink.mails}) == 1
        parts = [part.get_content_type() for part in sink.mails[0].message.walk()]
        assert parts == ["multipart/alternative", "text/plain", "text/html"]


@pytest.mark.parametrize(("refusal", "again"), [("451 try again later", True), ("552 too large", False)])
async def test_a_refusal_says_whether_trying_again_may_help(refusal: str, again: bool) -> None:
    async with SmtpSink() as sink:
        sink.refusal = refusal
        settings = Settings(smtp_host="127.0.0.1", smtp_port=sink.port, smtp_from="nuit@example.test")
        with pytest.raises(MailFailed) as failed:
            await mail.send(settings, LETTER)
    assert failed.value.retryable is again


@asynccontextmanager
async def conversing(
    *, delay: float = 0, bye: str = "221 bye", hello: Iterable[bytes] = ()
) -> AsyncGenerator[tuple[Settings, list[str]]]:
    """A mail server that takes its time over each answer and what it says before `220`, and what it was told."""
    commands: list[str] = []
    left = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for part in hello:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(delay)
            writer.write(b"220 ready\r\n")
            while line := await reader.readline():
                commands.append(line.decode().split()[0].upper())
                await asyncio.sleep(delay)
                if commands[-1] == "DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                writer.write(bye.encode() + b"\r\n" if commands[-1] == "QUIT" else b"250 ok\r\n")
        except ConnectionError:
            pass  # left without a word
        finally:
            writer.close()
            left.set()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield (
            Settings(
                smtp_host="127.0.0.1", smtp_port=port, smtp_from="nuit@example.test", smtp_timeout_ms=1000
            ),
            commands,
        )
        await left.wait()


async def test_a_letter_that_was_given_up_is_not_sent_afterwards() -> None:
    async with conversing(delay=0.7) as (settings, commands):
        with pytest.raises(MailFailed) as late:
            await mail.send(settings, LETTER)
    assert (late.value.retryable, late.value.message) == (True, "The mail server did not answer in time")
    assert commands == ["EHLO", "MAIL"], "each answer was in time, all of them together were not"


@pytest.mark.parametrize(
    ("hello", "delay", "said"),
    [
        (itertools.repeat(b"2"), 0.2, "The mail server did not answer in time"),
        (itertools.repeat(b"220-and\r\n"), 0.2, "The mail server did not answer in time"),
        (
            itertools.repeat(b"220-and more\r\n" * 999),
            0,
            "The mail server could not be reached (SMTPServerDisconnected)",
        ),
    ],
    ids=["a byte at a time", "a line at a time", "without end"],
)
async def test_a_server_whose_answer_does_not_end_is_left(
    hello: Iterable[bytes], delay: float, said: str
) -> None:
    async with conversing(hello=hello, delay=delay) as (settings, commands):
        with pytest.raises(MailFailed) as left:
            await mail.send(settings, LETTER)
    assert (left.value.retryable, left.value.message, commands) == (True, said, [])


async def test_a_letter_that_was_taken_is_sent_whatever_the_server_says_in_parting() -> None:
    async with conversing(bye="421 closing") as (settings, commands):
        await mail.send(settings, LETTER)
    assert commands == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://conforme.example.test/base", "conforme.example.test"),
        ("http://localhost:3002", "mail.example.test"),
        ("http://[::1]:3002", "mail.example.test"),
    ],
)
def test_message_ids_are_those_of_this_installation(address: str, host: str) -> None:
    settings = Settings(api_base_url=address)
    for sender in ("nuit@mail.example.test", "Conforme <nuit@mail.example.test>"):
        assert mail.host_of(settings, sender) == host
        message = mail.message_of(LETTER, sender, mail.host_of(settings, sender))
        assert message["Message-ID"] == f"<automation-run-12-1@{host}>"


async def test_without_a_server_there_is_none_to_reach() -> None:
    with pytest.raises(Misconfigured):
        await mail.send(Settings(), Letter("1", ["a@example.test"], "s", "t", "h"))
    with pytest.raises(MailFailed):
        await mail.send(Settings(smtp_host="127.0.0.1", smtp_port=1, smtp_from="a@example.test"), LETTER)


@pytest.mark.parametrize(
    ("wants", "fails", "told"),
    [
        ({"notify_on_complete": True, "notify_on_error": False}, False, True),
        ({"notify_on_complete": False, "notify_on_error": True}, False, False),
        ({"notify_on_complete": True, "notify_on_error": False}, True, False),
        ({"notify_on_complete": False, "notify_on_error": True}, True, True),
    ],
)
async def test_a_schedule_is_told_of_the_ends_it_wants_to_hear_of(
    room: Room, resources: Resources, wants: dict[str, bool], fails: bool, told: bool
) -> None:
    run_id = await room.begun("1001", notify_emails=["equipe@example.test"], **wants)
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    await (room.fail if fails else room.complete)(run_id, "1001")
    assert await notices.send_mail(resources, run_id, 1) == ("not configured" if told else "not wanted")
    assert await notices.queue_webhook(resources, run_id, 1) == ("none" if told else "not wanted")
    assert await notices.send_mail(resources, run_id, 2) == "not wanted", "that is another end"
    assert await notices.queue_webhook(resources, run_id, 2) == "not wanted"
