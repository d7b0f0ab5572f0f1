"""Presence and typing: beats in, changes out, time as a number."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from whisperkit import ConversationId, DeviceId, UserId
from whisperkit.presence import (
    BEAT_S,
    GRACE_S,
    TTL_S,
    CameOnline,
    Presence,
    PresenceEffect,
    PresenceTracker,
    StartedTyping,
    StoppedTyping,
    TypingTracker,
    WentOffline,
    last_seen_mark,
)

PHONE, LAPTOP, ALICE = DeviceId.named("bob", 1), DeviceId.named("bob", 2), DeviceId.named("alice", 1)
BOB = PHONE.user
CHAT, ROOM = ConversationId("chat"), ConversationId("room")


def tracker() -> PresenceTracker:
    return PresenceTracker(ttl_s=40, grace_s=35)


# ---- online ---------------------------------------------------------------------------------------------------------


def test_the_first_beat_brings_a_user_online() -> None:
    presence = tracker()

    assert presence.deadline is None
    assert presence.beat(PHONE, now=0.0) == [CameOnline(user=BOB)]
    assert presence.beat(PHONE, now=30.0) == []


def test_a_user_is_online_while_any_device_is() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)

    assert presence.beat(LAPTOP, now=30.0) == []
    assert presence.deadline == 75.0
    assert presence.handle_timer(now=75.0) == []
    assert presence.deadline == 105.0
    assert presence.handle_timer(now=105.0) == [WentOffline(user=BOB, last_seen_s=30.0)]
    assert presence.deadline is None


def test_offline_is_not_said_before_the_grace_is_over() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)

    assert presence.handle_timer(now=74.9) == []
    assert presence.presence(BOB, now=74.9) == Presence(is_online=True, is_certain=False, last_seen_s=0.0)


def test_devices_are_counted_that_beat_and_have_not_said_goodbye() -> None:
    presence = tracker()
    counts = [presence.devices]
    presence.beat(PHONE, now=0.0)
    presence.beat(LAPTOP, now=1.0)
    presence.beat(PHONE, now=2.0)
    counts.append(presence.devices)
    presence.goodbye(LAPTOP, now=3.0)
    counts.append(presence.devices)
    presence.handle_timer(now=77.0)
    counts.append(presence.devices)

    assert counts == [0, 2, 1, 0]


def test_one_lost_beat_is_no_absence() -> None:
    presence = PresenceTracker()
    presence.beat(PHONE, now=0.0)

    assert presence.handle_timer(now=2 * BEAT_S) == presence.beat(PHONE, now=2 * BEAT_S) == []
    assert TTL_S + GRACE_S > 2 * BEAT_S
    assert GRACE_S > BEAT_S


def test_each_beat_renews_past_any_ttl() -> None:
    presence = tracker()
    effects = presence.beat(PHONE, now=0.0)

    for beat in range(1, 1_000):
        effects += presence.handle_timer(now=30.0 * beat)
        effects += presence.beat(PHONE, now=30.0 * beat)

    assert effects == [CameOnline(user=BOB)]


def test_a_goodbye_waits_for_the_grace_only() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)
    presence.beat(ALICE, now=1.0)

    presence.goodbye(PHONE, now=10.0)

    assert presence.deadline == 45.0
    assert presence.handle_timer(now=45.0) == [WentOffline(user=BOB, last_seen_s=10.0)]
    assert presence.deadline == 76.0


def test_a_deadline_after_a_goodbye_is_the_earlier_of_the_two() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)
    presence.beat(ALICE, now=0.0)

    presence.goodbye(PHONE, now=50.0)

    assert presence.deadline == 75.0
    presence.goodbye(ALICE, now=50.0)
    assert presence.deadline == 85.0


def test_a_goodbye_of_one_device_leaves_the_others_online() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)
    presence.beat(LAPTOP, now=20.0)

    presence.goodbye(LAPTOP, now=21.0)

    assert presence.handle_timer(now=56.0) == []
    assert presence.handle_timer(now=75.0) == [WentOffline(user=BOB, last_seen_s=21.0)]


def test_a_goodbye_that_arrives_after_the_device_is_back_is_never_published() -> None:
    presence = tracker()
    effects = presence.beat(PHONE, now=0.0)
    effects += presence.beat(PHONE, now=5.0)  # by its new connection

    presence.goodbye(PHONE, now=5.1)  # of the old one
    effects += presence.handle_timer(now=35.0)
    effects += presence.beat(PHONE, now=35.0)
    effects += presence.handle_timer(now=60.0)

    assert effects == [CameOnline(user=BOB)]


def test_a_goodbye_of_an_unknown_device_changes_nothing() -> None:
    presence = tracker()

    presence.goodbye(PHONE, now=0.0)

    assert presence.deadline is None


def test_a_user_who_comes_back_comes_online_again() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)
    presence.handle_timer(now=75.0)

    assert presence.beat(PHONE, now=80.0) == [CameOnline(user=BOB)]


def test_a_reader_sees_an_expiry_that_nobody_was_woken_for() -> None:
    presence = tracker()
    presence.beat(PHONE, now=0.0)

    assert presence.presence(BOB, now=75.0) == Presence(is_online=False, is_certain=True, last_seen_s=0.0)


def test_a_young_tracker_does_not_say_offline() -> None:
    presence = tracker()

    assert presence.presence(BOB, now=100.0) == Presence(is_online=False, is_certain=False, last_seen_s=None)
    assert not presence.presence(BOB, now=139.9).is_certain
    assert presence.presence(BOB, now=140.0).is_certain


def test_a_young_tracker_is_certain_of_who_is_there() -> None:
    presence = PresenceTracker(ttl_s=40, grace_s=35, started_at=0.0)
    presence.beat(PHONE, now=1.0)

    assert presence.presence(BOB, now=2.0) == Presence(is_online=True, is_certain=True, last_seen_s=1.0)
    assert presence.presence(ALICE.user, now=40.0).is_certain


def test_devices_that_flap_make_no_storm() -> None:
    presence = tracker()
    effects: list[PresenceEffect] = []

    for tick in range(10_000):  # every 50 ms, in turn
        now = tick * 0.05
        device = (PHONE, LAPTOP)[tick % 2]
        effects += presence.beat(device, now=now)
        presence.goodbye(device, now=now)
        effects += presence.handle_timer(now=now)

    assert effects == [CameOnline(user=BOB)]


@pytest.mark.parametrize(
    ("wall_ms", "mark"), [(0, 0), (59_999, 0), (60_000, 60_000), (1_700_000_012_345, 1_699_999_980_000)]
)
def test_last_seen_is_saved_in_steps_of_a_minute(wall_ms: int, mark: int) -> None:
    assert last_seen_mark(wall_ms) == mark


def devices(count: int, *, after: int = 0) -> list[DeviceId]:
    return [DeviceId(UserId(uuid.UUID(int=number)), 1) for number in range(after, after + count)]


def test_a_device_costs_under_three_hundred_bytes_however_often_it_beats() -> None:
    everybody = devices(10_000)
    presence = PresenceTracker()
    tracemalloc.start()

    for beat in range(4):
        for place, device in enumerate(everybody):
            presence.beat(device, now=30.0 * beat + place / len(everybody))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 300 * len(everybody)


def test_nothing_is_held_of_who_is_gone() -> None:
    presence, sizes = PresenceTracker(), list[int]()
    tracemalloc.start()

    for day in range(1, 4):
        for device in devices(5_000, after=day * 5_000):
            presence.beat(device, now=1_000.0 * day)
        presence.handle_timer(now=1_000.0 * day + 80.0)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert presence.deadline is None
    assert sizes[-1] < sizes[0] * 1.1


# ---- presence against a model that remembers everything --------------------------------------------------------------


class PresenceMachine(RuleBasedStateMachine):
    """Each device's due time, written down; a user is online while one is ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = tracker()
        self.now = 0.0
        self.due: dict[DeviceId, float] = {}
        self.seen: dict[UserId, float] = {}
        self.published: set[UserId] = set()
        self.said_goodbye: set[DeviceId] = set()

    def apply(self, effects: list[PresenceEffect]) -> None:
        for effect in effects:
            match effect:
                case CameOnline(user=user):
                    assert user not in self.published, "came online twice"
                    self.published.add(user)
                case WentOffline(user=user, last_seen_s=last_seen_s):
                    assert last_seen_s == self.seen[user]
                    self.published.remove(user)

    @rule(device=st.sampled_from((PHONE, LAPTOP, ALICE)))
    def beat(self, device: DeviceId) -> None:
        self.due[device] = self.now + 75
        self.said_goodbye.discard(device)
        self.seen[device.user] = self.now
        self.apply(self.presence.beat(device, now=self.now))

    @rule(device=st.sampled_from((PHONE, LAPTOP, ALICE)))
    def goodbye(self, device: DeviceId) -> None:
        if device in self.due and device not in self.said_goodbye:
            self.due[device] = self.now + 35
            self.seen[device.user] = self.now
            self.said_goodbye.add(device)
        self.presence.goodbye(device, now=self.now)

    @rule(seconds=st.integers(1, 80))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.apply(self.presence.handle_timer(now=self.now))
        self.due = {device: due for device, due in self.due.items() if due > self.now}
        self.said_goodbye &= self.due.keys()

    @invariant()
    def who_is_published_is_who_has_a_device_left(self) -> None:
        assert self.published == {device.user for device in self.due}
        assert self.presence.deadline == min(self.due.values(), default=None)


TestPresenceMachine = PresenceMachine.TestCase
TestPresenceMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ---- readings of presence that a good developer could have built -----------------------------------------------------


class OneKeyPerUser(PresenceTracker):
    """Q1: the goodbye of one device is the goodbye of its user."""

    def goodbye(self, device: DeviceId, *, now: float) -> None:
        for number in (1, 2):
            super().goodbye(DeviceId(device.user, number), now=now)


class NoGrace(PresenceTracker):
    """Q10: one lost beat is published."""

    def __init__(self, *, ttl_s: float, grace_s: float) -> None:
        super().__init__(ttl_s=ttl_s, grace_s=0.0 * grace_s)


class RenewsAtFirstOnly(PresenceTracker):
    """Q6: a beat of a known device does not renew."""

    def beat(self, device: DeviceId, *, now: float) -> list[PresenceEffect]:
        return super().beat(device, now=now) if not self.presence(device.user, now=now).is_online else []


def two_devices_and_a_lost_beat(make: Callable[..., PresenceTracker]) -> list[PresenceEffect]:
    """Nobody ever is away: the phone beats (once a beat is lost), the laptop says goodbye."""
    presence = make(ttl_s=40, grace_s=35)
    effects = presence.beat(PHONE, now=0.0) + presence.beat(LAPTOP, now=0.0)
    presence.goodbye(LAPTOP, now=1.0)
    for now in (59.0, 90.0, 120.0, 150.0):
        effects += presence.handle_timer(now=now) + presence.beat(PHONE, now=now)
    return effects


def test_two_devices_and_a_lost_beat_are_one_user_online() -> None:
    assert two_devices_and_a_lost_beat(PresenceTracker) == [CameOnline(user=BOB)]


@pytest.mark.parametrize("broken", [OneKeyPerUser, NoGrace, RenewsAtFirstOnly])
def test_a_wrong_reading_of_presence_is_caught(broken: type[PresenceTracker]) -> None:
    assert two_devices_and_a_lost_beat(broken) != [CameOnline(user=BOB)]


# ---- typing ---------------------------------------------------------------------------------------------------------


def test_typing_lasts_five_seconds() -> None:
    typing = TypingTracker(viewer=ALICE.user)

    assert typing.deadline is None
    assert typing.typing(CHAT, BOB, now=0.0) == [StartedTyping(conversation=CHAT, user=BOB)]
    assert typing.deadline == 5.0
    assert typing.handle_timer(now=4.9) == []
    assert typing.handle_timer(now=5.0) == [StoppedTyping(conversation=CHAT, user=BOB)]
    assert typing.who(CHAT) == ()


def test_typing_goes_on_while_it_is_repeated() -> None:
    typing = TypingTracker(viewer=ALICE.user)
    typing.typing(CHAT, BOB, now=0.0)

    assert typing.typing(CHAT, BOB, now=4.0) == []
    assert typing.handle_timer(now=5.0) == []
    assert typing.deadline == 9.0


def test_typing_ends_with_the_message() -> None:
    typing = TypingTracker(viewer=ALICE.user)
    typing.typing(CHAT, BOB, now=0.0)

    assert typing.stopped(CHAT, BOB) == [StoppedTyping(conversation=CHAT, user=BOB)]
    assert typing.stopped(CHAT, BOB) == []
    assert typing.handle_timer(now=9.0) == []


def test_own_typing_is_not_shown() -> None:
    typing = TypingTracker(viewer=BOB)

    assert typing.typing(CHAT, BOB, now=0.0) == []
    assert typing.who(CHAT) == ()


def test_conversations_are_apart() -> None:
    typing = TypingTracker(viewer=ALICE.user)
    carol = UserId.named("carol")

    typing.typing(CHAT, BOB, now=0.0)
    typing.typing(CHAT, carol, now=0.1)
    typing.typing(ROOM, BOB, now=0.2)

    assert typing.who(CHAT) == (BOB, carol)
    assert typing.who(ROOM) == (BOB,)


def test_peers_cannot_make_it_hold_more_than_its_limit() -> None:
    typing = TypingTracker(viewer=ALICE.user, limit=1)
    typing.typing(CHAT, BOB, now=0.0)

    assert typing.typing(ROOM, BOB, now=1.0) == []
    assert typing.typing(CHAT, BOB, now=2.0) == []
    assert typing.who(ROOM) == ()
    assert typing.deadline == 7.0
