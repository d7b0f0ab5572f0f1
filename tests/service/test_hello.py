"""The first words of a connection: who somebody is, where they stand, who gives way to whom."""

from __future__ import annotations

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, CAROL, CHAT, TEAM, Lab, Phone, identity_key, sign, users
from whisperkit.ids import DeviceId, InboxSeq
from whisperkit.service import MessageService, ServiceConfig
from whisperkit.stores import Bound, Stores
from whisperkit.sync import frames
from whisperkit.sync.connection import register_message
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, ByeCode
from whisperkit.testing.sim_runtime import run_now


def post(lab: Lab, count: int) -> None:
    for number in range(count):
        lab.run(lab.g1.service.send(ALICE, CHAT, b"%d" % number))


# ---- who it is ------------------------------------------------------------------------------------------------------


def test_a_device_that_signs_the_challenge_is_welcome(lab: Lab) -> None:
    phone = Phone(lab.g1, ALICE, is_trusted=False)
    lab.settle()

    assert phone.last(frames.Welcome).answer is Answer.SNAPSHOT
    assert phone.bye is None


@pytest.mark.parametrize(
    "case", ["another key", "another device", "another connection", "no proof", "unknown user", "unlinked device"]
)
def test_who_proves_nothing_is_sent_away_and_harms_nobody(lab: Lab, case: str) -> None:
    lab.chat()
    bob = lab.phone(BOB)
    stranger = DeviceId.named("stranger", 1)
    device = {"unknown user": stranger, "unlinked device": DeviceId(ALICE.user, 2)}.get(case, ALICE)
    phone = Phone(lab.g1, device, is_trusted=False, says_hello=False)
    lab.settle()
    hello = phone.hello()
    match case:
        case "another key":
            phone = Phone(lab.g1, device, is_trusted=False, key=identity_key(BOB), says_hello=False)
            lab.settle()
            hello = phone.hello()
        case "another device":
            hello = hello._replace(device=BOB)
        case "another connection":
            hello = hello._replace(connection_no=2)
        case "no proof":
            hello = hello._replace(proof=None)
        case _:
            pass

    phone.say(hello)
    lab.settle()
    post(lab, 1)
    lab.settle()

    assert phone.bye is ByeCode.UNAUTHORISED
    assert phone.all(frames.Welcome) == []
    assert phone.closed == [(4003, "UNAUTHORISED")]
    assert bob.bye is None
    assert bob.texts(CHAT) == [b"0"]


def test_a_proof_counts_for_one_challenge(lab: Lab) -> None:
    first = Phone(lab.g1, ALICE, is_trusted=False, says_hello=False)
    second = Phone(lab.g1, ALICE, is_trusted=False, says_hello=False)
    lab.settle()

    second.say(first.hello())
    lab.settle()

    assert second.bye is ByeCode.UNAUTHORISED


def test_who_logged_in_as_one_device_is_not_another(lab: Lab) -> None:
    phone = lab.phone(ALICE, says_hello=False)

    phone.say(phone.hello()._replace(device=BOB))
    lab.settle()

    assert phone.bye is ByeCode.UNAUTHORISED
    assert lab.g1.gateway.links.get(BOB) is None


def test_without_a_verifier_only_the_application_lets_in(lab: Lab) -> None:
    runtime = lab.world.runtime("other")
    service = MessageService(Stores.memory(runtime=runtime), runtime=runtime)
    lab.run(service.start(), on=runtime)
    lab.run(service.register(ALICE), on=runtime)
    node = lab.g1._replace(service=service)

    proven, trusted = Phone(node, ALICE, is_trusted=False), Phone(node, ALICE)
    lab.settle()

    assert proven.bye is ByeCode.UNAUTHORISED
    assert trusted.bye is None


def test_who_says_nothing_is_sent_away_after_a_while_and_may_come_again(lab: Lab) -> None:
    phone = lab.phone(ALICE, says_hello=False)

    lab.settle(lab.config.hello_s - 1)
    assert phone.bye is None
    lab.settle(12.0)

    # UNAUTHORISED keeps a client away until a person acts, and here the network may have lost a good HELLO.
    assert phone.bye is ByeCode.TRY_LATER


def test_a_request_before_hello_is_out_of_turn(lab: Lab) -> None:
    phone = lab.phone(ALICE, says_hello=False)

    with pytest.raises(Exception, match="cannot be sent"):
        phone.say(frames.Beat())
    phone.link.receive(b"\x91\x07")  # BEAT
    lab.settle()

    assert phone.bye is ByeCode.PROTOCOL


# ---- a new user -----------------------------------------------------------------------------------------------------

NEWCOMER = DeviceId.named("newcomer", 1)


def register(phone: Phone, device: DeviceId, *, key: bytes | None = None) -> frames.Register:
    public = identity_key(device)
    message = register_message(phone.nonce, device, identity_key=public, registration_id=7, name="Newcomer")
    return frames.Register(device, public, 7, "Newcomer", sign(key or public, message))


def test_a_new_user_registers_and_says_hello(lab: Lab) -> None:
    phone = Phone(lab.g1, NEWCOMER, is_trusted=False, says_hello=False)
    lab.settle()

    phone.say(register(phone, NEWCOMER))
    lab.settle()
    phone.say(phone.hello())
    lab.settle()

    assert len(phone.all(frames.Registered)) == 1
    assert phone.last(frames.Welcome).answer is Answer.SNAPSHOT
    assert lab.inbox(NEWCOMER).is_open


def test_a_name_is_registered_once(lab: Lab) -> None:
    phone = Phone(lab.g1, ALICE, is_trusted=False, says_hello=False)
    lab.settle()
    other = identity_key(NEWCOMER)
    message = register_message(phone.nonce, ALICE, identity_key=other, registration_id=7, name="Alice")

    phone.say(frames.Register(ALICE, other, 7, "Alice", sign(other, message)))
    lab.settle()

    assert phone.bye is ByeCode.UNAUTHORISED
    assert lab.run(lab.g1.gateway.people.account(ALICE.user)).devices[0].identity_key == identity_key(ALICE)


def test_a_registration_is_signed_by_its_key(lab: Lab) -> None:
    phone = Phone(lab.g1, NEWCOMER, is_trusted=False, says_hello=False)
    lab.settle()

    phone.say(register(phone, NEWCOMER, key=identity_key(ALICE)))
    lab.settle()

    assert phone.bye is ByeCode.UNAUTHORISED


def test_where_the_application_keeps_accounts_nobody_registers(lab: Lab) -> None:
    phone = Phone(lab.g1, NEWCOMER, says_hello=False)
    lab.settle()

    phone.say(register(phone, NEWCOMER))
    lab.settle()

    assert phone.bye is ByeCode.UNAUTHORISED


# ---- where it stands ------------------------------------------------------------------------------------------------


def test_a_device_without_a_cursor_takes_a_snapshot_and_what_is_above_it(lab: Lab) -> None:
    lab.chat()
    post(lab, 2)

    bob = lab.phone(BOB)

    assert bob.last(frames.Welcome).answer is Answer.SNAPSHOT
    (snapshot,) = bob.all(frames.Snapshot)
    assert snapshot.cursor == bob.last(frames.Welcome).floor
    assert (snapshot.part, snapshot.is_last) == (0, True)
    (item,) = snapshot.items
    assert (item.conv, item.seq, item.roster_seq) == (CHAT, 3, 1)
    assert set(item.members) == {ALICE.user, BOB.user}
    # The snapshot's cursor is the floor, so all that lies above it follows, older than the snapshot or not.
    assert [entry.conv_seq for entry in bob.entries()] == [1, 2, 3]


def test_a_device_that_is_up_to_date_gets_nothing_twice(lab: Lab) -> None:
    lab.chat()
    post(lab, 2)
    bob = lab.phone(BOB)
    bob.link.detach()
    post(lab, 1)

    again = lab.phone(BOB, cursor=bob.cursor, number=2)

    assert again.last(frames.Welcome).answer is Answer.DELTA
    assert [entry.conv_seq for entry in again.entries()] == [4]
    assert again.cursor == lab.inbox(BOB).head_cursor


def test_a_device_with_another_log_takes_a_snapshot(lab: Lab) -> None:
    lab.chat()
    post(lab, 2)
    right = lab.inbox(BOB).head_cursor
    wrong_tag = lab.phone(BOB, cursor=right._replace(tag=bytes(8)))
    wrong_entry = lab.phone(BOB, cursor=Cursor(right.epoch, InboxSeq(2), bytes(8)), number=2)
    wrong_epoch = lab.phone(BOB, cursor=right._replace(epoch=9), number=3)
    ahead = lab.phone(BOB, cursor=right._replace(seq=InboxSeq(99)), number=4)

    answers = [phone.last(frames.Welcome).answer for phone in (wrong_tag, wrong_entry, wrong_epoch, ahead)]
    assert answers == [Answer.FORKED, Answer.FORKED, Answer.FORKED, Answer.AHEAD]
    assert [len(phone.all(frames.Snapshot)) for phone in (wrong_tag, wrong_entry, wrong_epoch, ahead)] == [1] * 4
    assert [entry.conv_seq for entry in ahead.entries()] == [1, 2, 3]


def test_after_a_restore_all_cursors_are_forks(lab: Lab) -> None:
    lab.chat()
    post(lab, 1)
    cursor = lab.inbox(BOB).head_cursor

    restored = lab.start("g2", config=ServiceConfig(epoch=2))
    bob = lab.phone(BOB, at=restored, cursor=cursor)

    assert bob.last(frames.Welcome).answer is Answer.FORKED
    assert bob.last(frames.Welcome).head.epoch == 2


def test_a_snapshot_of_many_conversations_comes_in_parts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisperkit.service.catchup.MAX_PART_ITEMS", 2)
    chats = [lab.group(ALICE, BOB, conv=type(TEAM)(f"chat-{number}")) for number in range(5)]

    bob = lab.phone(BOB)

    parts = bob.all(frames.Snapshot)
    assert [(part.part, part.is_last) for part in parts] == [(0, False), (1, False), (2, True)]
    assert {item.conv for part in parts for item in part.items} == set(chats)
    assert len({part.cursor for part in parts}) == 1


def test_a_part_of_a_snapshot_has_a_bound_on_members(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisperkit.service.catchup.MAX_PART_MEMBERS", 3)
    for number in range(3):
        lab.group(ALICE, BOB, conv=type(TEAM)(f"chat-{number}"))

    assert [len(part.items) for part in lab.phone(BOB).all(frames.Snapshot)] == [1, 1, 1]


def test_a_snapshot_leaves_out_what_the_user_has_left(lab: Lab) -> None:
    lab.chat()
    lab.group(ALICE, BOB, CAROL)
    lab.run(lab.g1.service.change_members(TEAM, removed=users(BOB)))
    lab.settle()

    assert [item.conv for item in lab.phone(BOB).last(frames.Snapshot).items] == [CHAT]


def test_the_cursor_of_hello_is_an_acknowledgement(lab: Lab) -> None:
    lab.chat()
    post(lab, 2)
    cursor = lab.inbox(BOB).head_cursor

    lab.phone(BOB, cursor=cursor)
    lab.settle(1.0)

    assert lab.mark(CHAT, "delivered", BOB) == 3
    assert lab.run(lab.g1.gateway.people.is_drained(BOB))


# ---- one connection for each device ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_the_connection_of_the_higher_number_wins_however_late_it_comes(lab: Lab, is_elsewhere: bool) -> None:
    other = lab.start("g2") if is_elsewhere else lab.g1
    newer = lab.phone(ALICE, number=2)

    older = lab.phone(ALICE, number=1, at=other)
    lab.settle()

    assert older.bye is ByeCode.SUPERSEDED
    assert older.closed == [(4001, "SUPERSEDED")]
    assert newer.bye is None
    bound = run_now(lab.directory.lookup([ALICE]))[ALICE]
    assert isinstance(bound, Bound)
    assert bound.binding.connection_no == 2


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_an_older_connection_gives_way(lab: Lab, is_elsewhere: bool) -> None:
    other = lab.start("g2") if is_elsewhere else lab.g1
    older = lab.phone(ALICE, number=1)

    newer = lab.phone(ALICE, number=2, at=other)
    lab.settle(12.0)  # elsewhere it shows when bindings are renewed

    assert older.bye is ByeCode.SUPERSEDED
    assert newer.bye is None
    assert isinstance(run_now(lab.directory.lookup([ALICE]))[ALICE], Bound)


def test_a_device_is_served_though_the_directory_is_away(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_batch: object) -> object:
        raise OSError("no directory")

    lab.chat()
    monkeypatch.setattr(lab.directory, "bind", away)
    bob = lab.phone(BOB)
    post(lab, 1)
    lab.settle()

    assert bob.texts(CHAT) == [b"0"]


@pytest.mark.parametrize("stage", ["heads", "rows"])
def test_a_link_that_ends_while_it_is_welcomed_leaves_nothing(make_lab: MakeLab, stage: str) -> None:
    lab = make_lab()
    lab.chat()
    post(lab, 1)
    lab.g1.door.hold(lambda call: call.operation == stage)
    phone = lab.phone(BOB)
    while lab.g1.door.held:
        phone.link.detach()
        lab.g1.door.release()
        lab.settle()
    lab.g1.door.let_go()
    lab.settle()

    assert lab.g1.gateway.links.get(BOB) is None
    assert phone.all(frames.Entry) == []


def test_a_json_device_is_served_in_json(lab: Lab) -> None:
    lab.chat()
    bob = Phone(lab.g1, BOB, speaks_json=True)
    lab.settle()
    post(lab, 1)
    lab.settle()

    assert bob.texts(CHAT) == [b"0"]
    assert all(message.startswith(b"[") for message in bob.messages)


def test_a_gateway_that_drains_takes_nobody(lab: Lab) -> None:
    lab.run(lab.g1.service.drain())

    phone = lab.phone(ALICE)

    assert phone.bye is ByeCode.TRY_LATER
