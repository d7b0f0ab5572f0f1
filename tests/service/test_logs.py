"""What the service writes to its log: who, how many and why, in words that can be searched for, and never content."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.service.lab import ALICE, BOB, CAROL, CHAT, DAVE, EVE, Lab, Phone, commit_to, span_of
from whisperkit.ids import InboxSeq
from whisperkit.sync import frames
from whisperkit.sync.cursor import Cursor
from whisperkit.testing import Fault

SECRET = b"meet me at noon"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "whisperkit")
    return caplog


def ends(logged: pytest.LogCaptureFixture) -> list[tuple[str | None, str | None, str, str]]:
    """Of each link that ended: whose it was, its code, why, and how loudly that was said."""
    return [
        (vars(record)["device"], vars(record)["code"], vars(record)["why"], record.levelname)
        for record in logged.records
        if record.message == "link ended"
    ]


def events(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in logged.records if record.levelno >= logging.WARNING]


def be_malformed(lab: Lab, phone: Phone) -> None:
    phone.link.receive(b"\xc1")


def be_stuck(lab: Lab, phone: Phone) -> None:
    lab.settle(15.0)


def be_silent(lab: Lab, phone: Phone) -> None:
    lab.settle(130.0)


def be_displaced(lab: Lab, phone: Phone) -> None:
    lab.phone(ALICE, number=2)


def acknowledge_too_much(lab: Lab, phone: Phone) -> None:
    phone.say(frames.Ack(Cursor(1, InboxSeq(99), bytes(8))))


def pull_from_another_log(lab: Lab, phone: Phone) -> None:
    phone.say(frames.Pull(Cursor(7, InboxSeq(99), bytes(8))))


def ask_for_too_much(lab: Lab, phone: Phone) -> None:
    phone.say(*[frames.Marks(())] * 300)


def be_disconnected(lab: Lab, phone: Phone) -> None:
    lab.g1.service.disconnect(ALICE)


@pytest.mark.parametrize(
    ("end", "code", "why"),
    [
        (be_malformed, "protocol", "wire.malformed"),
        (be_stuck, "resync", "stuck"),
        (be_silent, "resync", "silent"),
        (be_displaced, "superseded", "newer-here"),
        (acknowledge_too_much, "resync", "acknowledged-too-much"),
        (pull_from_another_log, "resync", "another-log"),
        (ask_for_too_much, "try_later", "too-many-requests"),
        (be_disconnected, "unauthorised", "disconnected"),
    ],
)
def test_a_link_that_was_given_up_is_told_with_who_and_why(
    lab: Lab, logged: pytest.LogCaptureFixture, end: Callable[[Lab, Phone], None], code: str, why: str
) -> None:
    phone = Phone(lab.g1, ALICE, backlog=lambda: 5_000 if end is be_stuck else 0)
    lab.settle()

    end(lab, phone)
    lab.settle()

    assert ends(logged) == [(ALICE, code, why, "INFO")]


def test_links_that_end_well_are_whispered(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    lab.phone(ALICE).link.detach()
    lab.phone(BOB)
    lab.run(lab.g1.service.drain())

    assert ends(logged) == [(ALICE, None, "gone", "DEBUG"), (BOB, "normal", "draining", "DEBUG")]


def test_a_device_of_another_log_is_told_with_both_cursors(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    lab.chat()
    lab.phone(ALICE, cursor=Cursor(1, InboxSeq(99), bytes(8)))
    lab.phone(BOB)

    found = [vars(record) for record in logged.records if record.message == "device has another log"]
    assert [(line["device"], line["answer"], line["epoch"], line["seq"], line["inbox_seq"]) for line in found] == [
        (ALICE, "ahead", 1, 99, 1)
    ]


def test_a_store_that_takes_no_commits_is_told_once_and_so_is_what_came_of_it(
    lab: Lab, logged: pytest.LogCaptureFixture
) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    lab.settle(1.0)
    lab.g1.door.fail(commit_to(f"conv/{CHAT}"), *[Fault.UNKNOWN_BEFORE] * 12)

    alice.send(CHAT, own={BOB: SECRET})
    lab.settle(60.0)

    failed = [record for record in logged.records if record.message == "post failed"]
    assert events(logged).count("not committed yet") == 1
    assert [vars(record)["device"] for record in failed] == [ALICE]
    assert failed[0].exc_info is not None
    assert alice.refusals == [frames.RefusalReason.TRY_LATER]


def test_a_commit_that_works_the_second_time_is_nothing_to_tell(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    lab.g1.door.fail(commit_to(f"conv/{CHAT}"), Fault.UNKNOWN_AFTER)

    alice.send(CHAT, own={BOB: SECRET})
    lab.settle(2.0)

    assert alice.sent
    assert events(logged) == []


def test_marks_that_cannot_be_written_are_told(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    lab.away.add("marks")

    lab.phone(ALICE)
    lab.settle(3.0)

    assert "marks not written" in events(logged)


def test_a_gateway_that_was_taken_for_dead_is_told(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    queue = lab.group(ALICE, BOB, CAROL, DAVE, EVE)
    alice = lab.phone(ALICE)
    lab.run(lab.start("g2").gateway.adopter.adopt(lab.g1.gateway.core.owner))

    alice.send(queue, b"text")
    lab.settle(5.0)

    assert alice.sent
    assert events(logged) == ["taken for dead"]


def test_no_line_holds_content(lab: Lab, logged: pytest.LogCaptureFixture) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    for door in ("partitions", "marks", "jobs"):
        lab.away.add(door)
        alice.send(CHAT, own={BOB: SECRET})
        alice.say(span_of(CHAT, 0, 9))
        lab.settle(40.0)
        lab.away.clear()
        alice = lab.phone(ALICE, number=alice.number + 1)

    assert logged.records
    for record in logged.records:
        assert SECRET.decode() not in logging.Formatter().format(record)
