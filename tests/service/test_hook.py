"""What the hook is told: each thing that happens, once, from wherever it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import (
    ALICE,
    BOB,
    CAROL,
    CHAT,
    DAVE,
    EVE,
    FRANK,
    LIMITS,
    TEAM,
    Lab,
    Phone,
    commit_to,
    read,
    request,
)
from whisperkit.ids import ConversationId, InboxSeq
from whisperkit.service import Hook, ServiceConfig
from whisperkit.service import delivery as deliveries
from whisperkit.service.link import DeviceLink
from whisperkit.strategy import Strategy
from whisperkit.sync import frames
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import ByeCode
from whisperkit.testing import Fault


class Told(Hook):
    """Notes all that it is told."""

    def __init__(self) -> None:
        self.links: list[int] = []
        self.closed: list[ByeCode | None] = []
        self.came_and_left: Counter[tuple[str, str]] = Counter()
        self.reasons: list[str] = []
        self.backlogs: list[int] = []
        self.changes: list[str] = []
        self.devices: list[int] = []
        self.accepts: list[tuple[Strategy, float]] = []
        self.deliveries: list[tuple[Strategy, float]] = []
        self.answers: list[str] = []
        self.appends = 0
        self.repeats: Counter[str] = Counter()
        self.marks: Counter[tuple[str, str]] = Counter()
        self.commits: Counter[str] = Counter()
        self.rows = 0
        self.posts: list[tuple[int, float]] = []
        self.jobs: list[float] = []
        self.fences = 0
        self.hints: Counter[str] = Counter()

    def linked(self, count: int) -> None:
        self.links.append(count)

    def link_closed(self, code: ByeCode | None) -> None:
        self.closed.append(code)

    def frames(self, direction: str, name: str, count: int) -> None:
        self.came_and_left[direction, name] += count

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)

    def backlog(self, size: int) -> None:
        self.backlogs.append(size)

    def presence(self, change: str) -> None:
        self.changes.append(change)

    def present(self, devices: int) -> None:
        self.devices.append(devices)

    def accepted(self, strategy: Strategy, seconds: float) -> None:
        self.accepts.append((strategy, seconds))

    def delivered(self, strategy: Strategy, seconds: float) -> None:
        self.deliveries.append((strategy, seconds))

    def synced(self, answer: str) -> None:
        self.answers.append(answer)

    def appended(self, count: int) -> None:
        self.appends += count

    def repeated(self, where: str, count: int) -> None:
        self.repeats[where] += count

    def marked(self, kind: str, result: str) -> None:
        self.marks[kind, result] += 1

    def committed(self, outcome: str, seconds: float, rows: int) -> None:
        self.commits[outcome] += 1
        self.rows += rows

    def owed(self, posts: int, oldest_s: float) -> None:
        self.posts.append((posts, oldest_s))

    def job_done(self, seconds: float) -> None:
        self.jobs.append(seconds)

    def fenced(self) -> None:
        self.fences += 1

    def hinted(self, result: str, count: int) -> None:
        self.hints[result] += count


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lab(make_lab: MakeLab, told: Told) -> Lab:
    config = ServiceConfig(fanout=LIMITS, presence_ttl_s=40.0, presence_grace_s=5.0)
    return make_lab(hook=told, config=config)


# ---- connections ----------------------------------------------------------------------------------------------------


def hang_up(lab: Lab, phone: Phone) -> None:
    phone.link.detach()


def come_again(lab: Lab, phone: Phone) -> None:
    lab.phone(ALICE, number=2).link.detach()


def talk_nonsense(lab: Lab, phone: Phone) -> None:
    phone.link.receive(b"\xc1")


def acknowledge_too_much(lab: Lab, phone: Phone) -> None:
    phone.say(frames.Ack(Cursor(1, InboxSeq(99), bytes(8))))


def ask_too_often(lab: Lab, phone: Phone) -> None:
    phone.say(*[frames.Marks(())] * 300)


def fall_silent(lab: Lab, phone: Phone) -> None:
    lab.settle(130.0)


def be_unlinked(lab: Lab, phone: Phone) -> None:
    lab.g1.service.disconnect(ALICE)


def outlive_the_gateway(lab: Lab, phone: Phone) -> None:
    lab.run(lab.g1.service.drain())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (hang_up, None),
        (come_again, ByeCode.SUPERSEDED),
        (talk_nonsense, ByeCode.PROTOCOL),
        (acknowledge_too_much, ByeCode.RESYNC),
        (ask_too_often, ByeCode.TRY_LATER),
        (fall_silent, ByeCode.RESYNC),
        (be_unlinked, ByeCode.UNAUTHORISED),
        (outlive_the_gateway, ByeCode.NORMAL),
    ],
)
def test_a_link_that_ends_is_told_once_with_its_code(
    lab: Lab, told: Told, end: Callable[[Lab, Phone], None], code: ByeCode | None
) -> None:
    phone = lab.phone(ALICE)

    end(lab, phone)
    lab.settle()
    phone.link.detach()

    assert told.closed[0] is code
    assert len(told.closed) == (2 if end is come_again else 1)
    assert phone.bye is code
    assert told.links[-1] == 0


def test_a_link_that_never_said_hello_is_told_too(lab: Lab, told: Told) -> None:
    lab.phone(ALICE, says_hello=False)

    lab.settle(15.0)

    assert told.closed == [ByeCode.TRY_LATER]
    assert told.links == []


def test_a_link_that_is_refused_while_the_gateway_drains_is_told_too(lab: Lab, told: Told) -> None:
    lab.run(lab.g1.service.drain())

    lab.phone(ALICE)

    assert told.closed == [ByeCode.TRY_LATER]


def test_a_link_whose_connection_breaks_at_a_write_is_told_once_and_ends_nothing_else(lab: Lab, told: Told) -> None:
    def broken(_data: bytes) -> None:
        raise OSError("gone")

    bob = lab.phone(BOB)

    lab.g1.service.attach(ALICE, send=broken)
    lab.settle()

    assert told.closed == [None]
    assert bob.bye is None


def test_a_connection_that_breaks_at_the_goodbye_ends_nothing_else(lab: Lab, told: Told) -> None:
    written: list[bytes] = []

    def breaks_later(data: bytes) -> None:
        if written:
            raise OSError("gone")
        written.append(data)

    def close(_code: int, _reason: str) -> None:
        raise OSError("gone")

    bob = lab.phone(BOB)
    lab.g1.service.attach(ALICE, send=breaks_later, close=close)

    lab.settle(15.0)  # it never says HELLO
    bob.say(frames.Beat())
    lab.settle()

    assert told.closed == [ByeCode.TRY_LATER]
    assert bob.last(frames.Head)


def test_a_device_that_would_get_a_frame_that_cannot_be_written_is_told_to_come_again(lab: Lab, told: Told) -> None:
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    link = lab.g1.gateway.links.get(ALICE)
    assert isinstance(link, DeviceLink)

    link.send(frames.Registered())  # it has no place any more
    lab.settle()

    assert alice.bye is ByeCode.TRY_LATER
    assert told.closed == [ByeCode.TRY_LATER]
    assert bob.bye is None


def test_frames_are_counted_both_ways(lab: Lab, told: Told) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(CHAT, own={BOB: b"1"})
    lab.settle()
    alice.say(frames.Beat(), frames.Beat(), frames.Marks((CHAT,)))
    lab.settle()
    lab.g1.service.disconnect(ALICE)
    for _ in range(2):  # once a second; what was told is not told again
        lab.g1.gateway.house.look()

    for phone in (alice, bob):
        names = Counter(frames.BY_TYPE[type(frame)].name for frame in phone.got)
        assert names["ENTRY"] > 0
    left = Counter(frames.BY_TYPE[type(frame)].name for phone in (alice, bob) for frame in phone.got)
    assert {name: n for (way, name), n in told.came_and_left.items() if way == "out"} == left
    came = {name: n for (way, name), n in told.came_and_left.items() if way == "in"}
    assert came.pop("ACK") == left["ENTRY"]
    assert came == {"HELLO": 2, "SEND": 1, "BEAT": 2, "MARKS": 1}


def test_what_is_refused_is_told_with_the_reason(lab: Lab, told: Told) -> None:
    alice = lab.phone(ALICE)
    alice.send(TEAM)
    lab.settle()
    alice.link.receive(b"\xc1")

    assert told.reasons == ["not_member", "wire.malformed"]


def test_what_waits_for_a_slow_reader_is_told_once_a_second(lab: Lab, told: Told) -> None:
    waiting = [0]
    Phone(lab.g1, ALICE, backlog=lambda: waiting[0])
    lab.settle(2.0)
    waiting[0] = 5_000
    lab.settle(3.0)

    assert told.backlogs == [5_000] * 3


def test_presence_counts_devices_and_tells_of_users(lab: Lab, told: Told) -> None:
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.link.detach()
    lab.settle(16.0)

    assert told.changes == ["online", "online", "offline"]
    assert told.devices == [1, 2, 1]
    assert bob.bye is None


# ---- messages -------------------------------------------------------------------------------------------------------


def test_a_message_is_accepted_and_delivered_with_its_strategy(lab: Lab, told: Told) -> None:
    lab.chat()
    queue = lab.group(ALICE, BOB, CAROL, DAVE, EVE)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    told.accepts.clear()
    told.deliveries.clear()

    alice.send(CHAT, own={BOB: b"1"})
    alice.send(queue, b"2")
    lab.settle(2.0)

    assert sorted(text or b"" for text in bob.texts()) == [b"1", b"2"]
    assert sorted(strategy for strategy, _ in told.accepts) == [Strategy.SMALL, Strategy.MID]
    assert sorted(strategy for strategy, _ in told.deliveries) == [Strategy.SMALL, Strategy.MID]
    assert all(0 <= seconds < 2 for _, seconds in told.deliveries)


def test_a_message_of_the_application_is_accepted_too(lab: Lab, told: Told) -> None:
    lab.chat()

    lab.run(lab.g1.service.send(ALICE, CHAT, b"text", outbox_seq=1))

    assert [strategy for strategy, _ in told.accepts] == [Strategy.SMALL]


def test_how_long_a_device_was_away_is_no_delivery(lab: Lab, told: Told) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    bob.link.detach()
    alice.send(CHAT, own={BOB: b"1"})
    lab.settle(60.0)
    told.deliveries.clear()

    back = lab.phone(BOB, number=2, cursor=bob.cursor)

    assert back.texts() == [b"1"]
    assert told.deliveries == []


def test_a_slow_reader_is_a_slow_delivery(make_lab: MakeLab, told: Told) -> None:
    lab = make_lab(hook=told, config=ServiceConfig(fanout=LIMITS, max_unacked_entries=1))
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    bob.ack()
    lab.settle()
    told.deliveries.clear()

    for number in range(3):
        alice.send(CHAT, own={BOB: b"%d" % number})
    for _ in range(3):  # the second and third are read from the store, as the window has room for one
        lab.settle(1.0)
        bob.ack()
    lab.settle()

    assert bob.texts() == [b"0", b"1", b"2"]
    assert [(strategy, round(seconds)) for strategy, seconds in told.deliveries] == [
        (Strategy.SMALL, 1),
        (Strategy.SMALL, 2),
        (Strategy.SMALL, 3),
    ]


def test_an_aside_is_no_delivery(lab: Lab, told: Told) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    told.deliveries.clear()

    alice.say(frames.Aside(request(1), {BOB: b"key"}))
    lab.settle()

    assert bob.entries()[-1].own == b"key"
    assert told.deliveries == []


def test_a_device_is_told_where_it_stands_whoever_asks(lab: Lab, told: Told) -> None:
    lab.phone(ALICE)
    lab.phone(BOB, cursor=Cursor(1, InboxSeq(99), bytes(8)))
    lab.run(lab.g1.service.sync(CAROL, Cursor(0, InboxSeq(0), bytes(8))))

    assert told.answers == ["snapshot", "ahead", "forked"]


def test_a_repeat_of_a_post_is_told(lab: Lab, told: Told) -> None:
    lab.chat()
    alice = lab.phone(ALICE)

    for _ in range(2):
        alice.send(CHAT, own={BOB: b"1"}, seq=1)
        lab.settle()

    assert told.repeats["post"] == 1


def test_a_repeat_at_an_inbox_is_told(lab: Lab, told: Told) -> None:
    queue = lab.group(ALICE, BOB, CAROL, DAVE, EVE)
    alice = lab.phone(ALICE)
    told.appends = 0
    lab.g1.door.fail(commit_to(f"inbox/{BOB}"), Fault.UNKNOWN_AFTER)

    alice.send(queue, b"1")
    lab.settle(3.0)

    assert lab.received(BOB, queue)[-1] == lab.head(queue).seq
    assert told.repeats["inbox"] >= 1
    assert told.appends + told.repeats["inbox"] == 4
    assert told.commits["unknown"] == 1


def test_receipts_are_told_with_what_they_were_worth(lab: Lab, told: Told) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(CHAT, own={BOB: b"1"})
    lab.settle(1.0)
    told.marks.clear()
    seq = lab.head(CHAT).seq

    bob.ack()
    bob.say(read(CHAT, seq))
    lab.settle(1.0)
    bob.say(read(CHAT, seq))
    bob.say(read(CHAT, seq + 9))
    lab.settle(1.0)
    bob.say(frames.Ack(Cursor(1, InboxSeq(99), bytes(8))))
    lab.settle(1.0)

    assert told.marks == {
        ("delivered", "stale"): 1,
        ("delivered", "ahead"): 1,
        ("read", "raised"): 1,
        ("read", "stale"): 1,
        ("read", "ahead"): 1,
    }


def test_an_acknowledgement_raises_one_mark_for_each_conversation(lab: Lab, told: Told) -> None:
    lab.chat()
    lab.group(ALICE, BOB, CAROL)
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    alice.send(CHAT, own={BOB: b"1"})
    alice.send(TEAM, b"2")
    alice.send(TEAM, b"3")
    lab.settle(1.0)
    told.marks.clear()

    bob.ack()

    assert told.marks == {("delivered", "raised"): 2}


# ---- what is behind -------------------------------------------------------------------------------------------------


def test_a_conflict_is_told(lab: Lab, told: Told) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    lab.g1.door.fail(commit_to(f"conv/{CHAT}"), Fault.CONFLICT)

    alice.send(CHAT, own={BOB: b"1"})
    lab.settle()

    assert alice.sent
    assert told.commits["conflict"] == 1
    assert told.rows > 0


def test_what_is_owed_is_told_by_its_own_age_and_not_by_how_long_there_was_something(lab: Lab, told: Told) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, carol = lab.phone(ALICE), lab.phone(CAROL)
    lab.g1.door.hold(commit_to(f"inbox/{BOB}"))
    for phone in (alice, carol, alice, carol, alice, carol):  # there is always one that is not finished
        phone.send(TEAM, b"text")
        lab.settle(2.0)
        lab.g1.door.release()
    oldest_s = max(seconds for _, seconds in told.posts)
    lab.g1.door.let_go()
    lab.settle(3.0)

    assert told.posts[-1] == (0, 0.0)
    assert oldest_s < 5.0


def test_what_is_not_finished_is_told_with_its_age(lab: Lab, told: Told) -> None:
    queue = lab.group(ALICE, BOB, CAROL, DAVE, EVE)
    alice = lab.phone(ALICE)
    lab.away.add("jobs")

    alice.send(queue, b"text")
    lab.settle(30.0)
    waiting = told.posts[-1]
    lab.away.clear()
    lab.settle(5.0)

    assert waiting[0] == 1
    assert 28 < waiting[1] <= 30
    assert alice.sent
    assert told.posts[-1] == (0, 0.0)


def test_what_is_owed_is_told_while_the_directory_hangs(lab: Lab, told: Told) -> None:
    lab.away.add("directory")
    lab.settle(15.0)
    told.posts.clear()

    lab.settle(5.0)

    assert len(told.posts) == 5


def test_each_job_is_told_with_how_long_it_took(lab: Lab, told: Told) -> None:
    queue = lab.group(ALICE, BOB, CAROL, DAVE, EVE)
    alice = lab.phone(ALICE)
    told.jobs.clear()

    alice.send(queue, b"text")
    lab.settle(2.0)

    assert len(told.jobs) == 1
    assert 0 <= told.jobs[0] < 2


def test_a_gateway_that_was_taken_for_dead_says_so_once(lab: Lab, told: Told) -> None:
    queues = [
        lab.group(*members, conv=ConversationId(f"queue{n}"))
        for n, members in enumerate([(ALICE, BOB, CAROL, DAVE, EVE), (ALICE, BOB, CAROL, DAVE, FRANK)])
    ]
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    other = lab.start("g2")
    lab.run(other.gateway.adopter.adopt(lab.g1.gateway.core.owner))

    for phone in (alice, bob):
        for queue in queues:
            phone.send(queue, b"text")
    lab.settle(5.0)

    assert len(alice.sent) == len(bob.sent) == 2
    assert told.fences == 1


def test_hints_are_told_with_what_became_of_them(lab: Lab, told: Told) -> None:
    lab.chat()
    other = lab.start("g2")
    alice, bob = lab.phone(ALICE), lab.phone(BOB, at=other)
    lab.settle(45.0)  # the directory is not young any more
    told.hints.clear()

    alice.send(CHAT, own={BOB: b"1"})
    lab.settle()
    lab.away.add("bus")
    alice.send(CHAT, own={BOB: b"2"})
    lab.settle()
    lab.away.clear()
    link = other.gateway.links.get(BOB)
    assert link is not None
    other.gateway.links.remove(link)  # a directory that is behind
    alice.send(CHAT, own={BOB: b"3"})
    lab.settle()
    lab.away.add("directory")
    alice.send(CHAT, own={BOB: b"4"})
    lab.settle()

    assert bob.texts()[0] == b"1"
    assert told.hints == {"took": 1, "lost": 2, "not_here": 1}


def test_hints_that_find_no_room_are_lost(lab: Lab, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "MAX_WAITING_HINTS", 0)
    lab.chat()
    told.hints.clear()

    lab.phone(ALICE).send(CHAT, own={BOB: b"1"})
    lab.settle()

    assert told.hints == {"lost": 1}


def test_a_hook_that_overrides_nothing_is_told_all_the_same(make_lab: MakeLab) -> None:
    lab = make_lab(hook=Hook())
    lab.group(ALICE, BOB, CAROL, DAVE, EVE, FRANK)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)

    alice.send(TEAM, b"text")
    bob.say(read(TEAM, 1))
    bob.link.detach()
    lab.settle(100.0)

    assert alice.sent
