from __future__ import annotations

from typing import Any

import pytest

from whisperkit.accounts import (
    MAX_DEVICES_PER_USER,
    NEW_ACCOUNT,
    Account,
    AccountTaken,
    LastDevice,
    Linked,
    Membership,
    NewDevice,
    NotDrained,
    NotLinked,
    NumberTaken,
    TooManyDevices,
    Unlinked,
    decode,
    decode_membership,
    encode,
    encode_membership,
    join,
    leave,
    link,
    membership_key,
    membership_of,
    partition,
    register,
    unlink,
)
from whisperkit.errors import CorruptStateError
from whisperkit.ids import MAX_DEVICE_NUMBER, ConversationId, ConversationSeq, DeviceId, UserId
from whisperkit.packing import pack
from whisperkit.partitions import MAX_KEY_BYTES, MAX_STATE_BYTES, Row, Step

ALICE = UserId.named("alice")
CHAT = ConversationId("chat")


def device(number: int, key: int | None = None) -> NewDevice:
    return NewDevice(number, bytes([key if key is not None else number]) * 33, 1_000 + number)


@pytest.fixture
def account() -> Account:
    return register(NEW_ACCOUNT, device(1), at_ms=5).state


def linked(account: Account, new: NewDevice, *, by: int = 1, is_drained: bool = True) -> Step[Any, Account]:
    return link(account, new, by=by, at_ms=7, is_drained=is_drained)


def test_the_first_device_makes_the_account() -> None:
    step = register(NEW_ACCOUNT, device(1), at_ms=5)

    assert step.answer == Linked(1, 1)
    assert step.state.devices[0][:3] == device(1)
    assert step.state.devices[0][3:] == (1, 5)


def test_the_device_that_made_the_account_may_repeat_it_and_nobody_else(account: Account) -> None:
    assert register(account, device(1), at_ms=9) == Step(Linked(1, 1), account)
    for other in (device(1, key=9), device(2), device(1)._replace(registration_id=3)):
        assert register(account, other, at_ms=9) == Step(AccountTaken(), account)


def test_who_was_linked_later_did_not_make_the_account(account: Account) -> None:
    now = linked(account, device(2)).state

    assert type(register(now, device(2), at_ms=9).answer) is AccountTaken


def test_a_device_links_another_and_the_list_gets_a_version(account: Account) -> None:
    step = linked(account, device(2))

    assert step.answer == Linked(2, 2)
    assert step.state.device_ids(ALICE) == (DeviceId(ALICE, 1), DeviceId(ALICE, 2))


def test_a_link_that_is_repeated_is_answered_the_same(account: Account) -> None:
    now = linked(linked(account, device(2)).state, device(3)).state

    assert linked(now, device(2), is_drained=False) == Step(Linked(2, 3), now)


@pytest.mark.parametrize("checks", [True, False])
def test_m06_only_a_drained_device_may_link_another(account: Account, checks: bool) -> None:
    """Model 6c fold, "max over devices, d2 linked while d1 was behind"."""
    is_behind = True

    step = linked(account, device(2), is_drained=not (is_behind and checks))

    assert (type(step.answer) is NotDrained) is checks
    assert (step.state is account) is checks


def test_a_stranger_links_and_unlinks_nothing(account: Account) -> None:
    assert linked(account, device(2), by=3) == Step(NotLinked(), account)
    assert unlink(account, 1, by=2) == Step(NotLinked(), account)
    assert type(linked(NEW_ACCOUNT, device(1)).answer) is NotLinked


def test_a_number_is_used_by_one_device_at_a_time(account: Account) -> None:
    assert linked(account, device(1, key=9)) == Step(NumberTaken(2), account)


def test_all_numbers_are_used_before_one_comes_again(account: Account) -> None:
    now = account
    for expected in range(2, MAX_DEVICE_NUMBER + 1):
        assert now.next_number == expected
        now = linked(now, device(expected)).state
        now = unlink(now, expected, by=1).state

    assert now.next_number == 2


def test_the_devices_of_a_user_are_bounded(account: Account) -> None:
    now = account
    for number in range(2, MAX_DEVICES_PER_USER + 1):
        now = linked(now, device(number)).state

    assert linked(now, device(99)) == Step(TooManyDevices(MAX_DEVICES_PER_USER), now)


def test_unlinking_says_which_links_are_over_and_says_the_same_again(account: Account) -> None:
    now = linked(account, device(2)).state

    step = unlink(now, 2, by=2)

    assert step.answer == Unlinked(3, 3)
    assert step.state.devices == account.devices
    assert unlink(step.state, 2, by=2) == Step(Unlinked(3, 3), step.state)


def test_a_number_that_comes_again_is_another_link(account: Account) -> None:
    gone = unlink(linked(account, device(2)).state, 2, by=1).state

    assert linked(gone, device(2, key=9)).answer == Linked(4, 4)


def test_an_account_keeps_a_device(account: Account) -> None:
    assert unlink(account, 1, by=1) == Step(LastDevice(), account)


def test_memberships_follow_the_rows_of_rosters_in_any_order_of_arrival(account: Account) -> None:
    joined = join(account, CHAT, None, seq=ConversationSeq(3))
    left = leave(account, CHAT, joined.answer, seq=ConversationSeq(7))

    assert membership_of(joined.put[0]) == (CHAT, Membership(ConversationSeq(3), True))
    assert membership_of(left.put[0]) == (CHAT, Membership(ConversationSeq(7), False))
    assert not join(account, CHAT, left.answer, seq=ConversationSeq(3)).changes(account)
    assert not leave(account, CHAT, left.answer, seq=ConversationSeq(7)).changes(account)


@pytest.mark.parametrize("is_right", [True, False])
def test_m04d_a_joining_that_is_told_again_does_not_undo_a_leaving(account: Account, is_right: bool) -> None:
    """Model 4d change, at the user: whoever tells by what is there, and not by the seq, lets the user in again."""
    known: Membership | None = leave(account, CHAT, None, seq=ConversationSeq(7)).answer

    told = join(account, CHAT, known if is_right else None, seq=ConversationSeq(3)).answer

    assert (told.is_member is False) is is_right


def test_the_head_survives_its_bytes_at_the_limits(account: Account) -> None:
    most = 2**63 - 1
    now = account
    for number in range(128 - MAX_DEVICES_PER_USER, MAX_DEVICE_NUMBER):
        now = link(now, device(number), by=1, at_ms=most, is_drained=True).state
    now = now._replace(version=most, devices=tuple(each._replace(link=most) for each in now.devices))

    assert len(now.devices) == MAX_DEVICES_PER_USER
    assert decode(encode(now)) == now
    assert len(encode(now)) <= MAX_STATE_BYTES
    assert decode(b"") is NEW_ACCOUNT


@pytest.mark.parametrize(
    "data", [b"\x00", pack(1, [7], 1), pack(1, [(1, b"", 1)], 1), pack(1, [("1", b"", 1, 1, 1)], 1)]
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


def test_a_row_that_is_no_membership_is_corrupt() -> None:
    with pytest.raises(CorruptStateError):
        decode_membership(pack(1, 1))
    with pytest.raises(CorruptStateError):
        membership_of(Row(b"m/no room", encode_membership(Membership(ConversationSeq(1), True))))


def test_a_user_has_one_partition_and_keys_within_their_bound() -> None:
    assert partition(ALICE) == f"user/{ALICE}"
    assert len(membership_key(ConversationId("x" * 48))) <= MAX_KEY_BYTES
