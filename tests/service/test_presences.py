"""Who is online, who types, and when somebody was last seen, as devices that watch are told."""

from __future__ import annotations

import pytest

from tests.service.lab import ALICE, BOB, CAROL, CHAT, EVERYBODY, TEAM, Lab, Phone, users
from whisperkit.ids import DeviceId
from whisperkit.presence import LAST_SEEN_STEP_MS
from whisperkit.service import ServiceConfig
from whisperkit.sync import frames
from whisperkit.sync.frames import PresenceState

ONLINE, OFFLINE, UNKNOWN = PresenceState.ONLINE, PresenceState.OFFLINE, PresenceState.UNKNOWN
LAPTOP = DeviceId(BOB.user, 2)
TTL_S = ServiceConfig().presence_ttl_s
GRACE_S = ServiceConfig().presence_grace_s


@pytest.fixture
def old(lab: Lab) -> Lab:
    """A gateway, and a directory, that have heard of everybody by now."""
    lab.settle(TTL_S + 1)
    return lab


def watch(phone: Phone, *devices: DeviceId) -> None:
    phone.say(frames.Watch(users(*devices)))


def states(phone: Phone, device: DeviceId = BOB) -> list[PresenceState]:
    return [told.state for told in phone.all(frames.Presence) if told.user == device.user]


def beat(lab: Lab, seconds: float, *phones: Phone) -> None:
    """Let time pass in which these devices beat."""
    for _ in range(int(seconds / 10)):
        for phone in phones:
            phone.say(frames.Beat())
        lab.settle(10.0)


# ---- watching -------------------------------------------------------------------------------------------------------


def test_who_watches_is_told_how_things_are_and_what_changes(old: Lab) -> None:
    alice = old.phone(ALICE)
    watch(alice, BOB)
    old.settle()
    assert states(alice) == [OFFLINE]
    assert alice.last(frames.Presence).last_seen_ms is None

    old.phone(BOB)
    old.settle()

    assert states(alice) == [OFFLINE, ONLINE]
    assert alice.last(frames.Presence).is_certain


def test_a_gateway_that_is_young_does_not_say_offline(lab: Lab) -> None:
    alice = lab.phone(ALICE)
    watch(alice, BOB)
    lab.settle()
    assert states(alice) == [UNKNOWN]
    assert not alice.last(frames.Presence).is_certain

    beat(lab, TTL_S + 20, alice)

    assert states(alice) == [UNKNOWN, OFFLINE]


def test_who_goes_is_offline_after_the_grace(old: Lab) -> None:
    alice, bob = old.phone(ALICE), old.phone(BOB)
    watch(alice, BOB)
    old.settle()

    bob.link.detach()
    beat(old, GRACE_S - 10, alice)
    assert states(alice) == [ONLINE]
    beat(old, 20, alice)

    assert states(alice) == [ONLINE, OFFLINE]


def test_who_comes_back_within_the_grace_was_never_away(old: Lab) -> None:
    alice, bob = old.phone(ALICE), old.phone(BOB)
    watch(alice, BOB)
    old.settle()

    for number in range(2, 5):
        bob.link.detach()
        beat(old, GRACE_S - 10, alice)
        bob = old.phone(BOB, number=number)
    beat(old, 100, alice, bob)

    assert states(alice) == [ONLINE]


def test_a_device_that_falls_silent_is_offline_after_ttl_and_grace(old: Lab) -> None:
    alice = old.phone(ALICE)
    old.phone(BOB)
    watch(alice, BOB)
    old.settle()

    beat(old, TTL_S + GRACE_S - 10, alice)
    assert states(alice) == [ONLINE]
    # Its link is closed later, and its binding is good as long: what the directory says counts too.
    beat(old, 3 * TTL_S, alice)

    assert states(alice) == [ONLINE, OFFLINE]


def test_a_user_is_online_while_any_device_is(old: Lab) -> None:
    old.run(old.g1.service.register(LAPTOP))
    alice, phone, laptop = old.phone(ALICE), old.phone(BOB), old.phone(LAPTOP)
    watch(alice, BOB)
    old.settle()

    phone.link.detach()
    beat(old, GRACE_S + 60, alice, laptop)
    assert states(alice) == [ONLINE]
    laptop.link.detach()
    beat(old, GRACE_S + 20, alice)

    assert states(alice) == [ONLINE, OFFLINE]


def test_who_is_connected_elsewhere_shows_with_the_next_look(old: Lab) -> None:
    other = old.start("g2")
    alice = old.phone(ALICE)
    watch(alice, BOB)
    old.settle()
    assert states(alice) == [OFFLINE]

    bob = old.phone(BOB, at=other)
    beat(old, 20, alice, bob)
    assert states(alice) == [OFFLINE, ONLINE]
    bob.link.detach()
    beat(old, 20, alice)

    assert states(alice) == [OFFLINE, ONLINE, OFFLINE]


def test_watching_others_ends_watching_these(old: Lab) -> None:
    alice = old.phone(ALICE)
    watch(alice, BOB)
    old.settle()

    watch(alice, CAROL)
    old.settle()
    old.phone(BOB)
    old.phone(CAROL)
    old.settle()

    assert states(alice, BOB) == [OFFLINE]
    assert states(alice, CAROL) == [OFFLINE, ONLINE]


def test_a_device_that_goes_watches_nobody(old: Lab) -> None:
    alice, carol = old.phone(ALICE), old.phone(CAROL)
    watch(alice, BOB)
    watch(carol, BOB)
    old.settle()
    alice.link.detach()

    old.phone(BOB)
    beat(old, 30, carol)

    assert states(alice) == [OFFLINE]
    assert states(carol) == [OFFLINE, ONLINE]


def test_who_watches_again_after_a_reconnect_is_told_again(old: Lab) -> None:
    alice = old.phone(ALICE)
    watch(alice, BOB)
    old.settle()
    again = old.phone(ALICE, number=2)

    watch(again, BOB)
    old.settle()

    assert states(again) == [OFFLINE]


def test_a_directory_that_forgot_everything_takes_nobody_offline(old: Lab) -> None:
    other = old.start("g2")
    alice, bob = old.phone(ALICE), old.phone(BOB, at=other)
    watch(alice, BOB)
    beat(old, 20, alice, bob)
    assert states(alice) == [ONLINE]

    old.directory.empty()
    beat(old, 100, alice, bob)

    assert states(alice) == [ONLINE]


# ---- last seen ------------------------------------------------------------------------------------------------------


def test_last_seen_is_told_with_offline_in_steps_of_a_minute(old: Lab) -> None:
    alice, bob = old.phone(ALICE), old.phone(BOB)
    watch(alice, BOB)
    beat(old, 100, alice, bob)
    gone_at_ms = old.g1.runtime.wall_ms()
    bob.link.detach()
    beat(old, GRACE_S + 20, alice)

    told = alice.last(frames.Presence)

    assert told.state is OFFLINE
    assert told.last_seen_ms is not None
    assert told.last_seen_ms % LAST_SEEN_STEP_MS == 0
    assert 0 <= gone_at_ms - told.last_seen_ms < 2 * LAST_SEEN_STEP_MS


def test_a_device_that_beats_writes_last_seen_once_a_minute(old: Lab) -> None:
    bob = old.phone(BOB)
    beat(old, 60, bob)
    old.marks.writes.clear()

    beat(old, 300, bob)

    seen = [mark for marks in old.marks.writes for mark in marks if mark.name == "seen"]
    assert 4 <= len(seen) <= 6


# ---- typing ---------------------------------------------------------------------------------------------------------


def test_typing_is_told_to_the_others_and_only_to_them(lab: Lab) -> None:
    lab.group(ALICE, BOB)
    alice, bob, carol = (lab.phone(device) for device in (ALICE, BOB, CAROL))

    alice.say(frames.Typing(TEAM, ALICE.user))
    lab.settle()

    assert bob.all(frames.Typing) == [frames.Typing(TEAM, ALICE.user)]
    assert alice.all(frames.Typing) == []
    assert carol.all(frames.Typing) == []


def test_nobody_types_in_a_hall(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)

    alice.say(frames.Typing(TEAM, ALICE.user))
    lab.settle()

    assert bob.all(frames.Typing) == []
    assert alice.bye is None


def test_typing_in_a_conversation_that_is_none_harms_nobody(lab: Lab) -> None:
    alice = lab.phone(ALICE)

    alice.say(frames.Typing(CHAT, ALICE.user))
    lab.settle()

    assert alice.bye is None


# ---- a store or a directory that is away ----------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["directory", "marks"])
def test_presence_goes_on_when_what_was_away_is_back(old: Lab, door: str) -> None:
    alice = old.phone(ALICE)
    watch(alice, BOB)
    old.settle()
    bob = old.phone(BOB, at=old.start("g2"))

    old.away.add(door)
    watch(alice, BOB)
    beat(old, 20, alice, bob)
    old.away.clear()
    beat(old, 20, alice, bob)

    assert alice.bye is None
    assert states(alice) == [OFFLINE, ONLINE]
