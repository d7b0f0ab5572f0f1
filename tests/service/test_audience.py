"""Who gets a message is remembered, and never longer than what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import accounts
from whisperkit.accounts import Account, LinkedDevice
from whisperkit.ids import DeviceId, UserId
from whisperkit.partitions import Change
from whisperkit.service.audience import Audience, DeviceLists, Members
from whisperkit.stores import MemoryPartitions, Stores
from whisperkit.sync.roster import Interval
from whisperkit.testing.sim_runtime import SimWorld, run_now

USERS = [UserId.named(name) for name in ("alice", "bob", "carol", "dave")]
MAX_AGE_S = 10.0


class Forgetful(DeviceLists):
    """Never asks whether a list is still the one that is known: what the tests must catch."""

    def audience(self, members: Members) -> Audience | None:
        return members.last_audience or super().audience(members)


class Ageless(DeviceLists):
    """Takes a list for good, however old: another one."""

    def audience(self, members: Members) -> Audience | None:
        if members.last_audience is not None:
            members.last_audience.oldest_at = float("inf")
        return super().audience(members)


class World:
    def __init__(self, make: Callable[..., DeviceLists] = DeviceLists) -> None:
        self.sim = SimWorld(seed=1)
        runtime = self.sim.runtime("g1")
        self.store = MemoryPartitions()
        self.lists = make(Stores.over(self.store), runtime, max_age_s=MAX_AGE_S)
        self.members = Members({user: (Interval(1, None),) for user in USERS})
        self.versions = dict.fromkeys(USERS, 0)

    def write(self, user: UserId, numbers: frozenset[int]) -> None:
        """What is stored changes; nobody tells the gateway."""
        devices = tuple(LinkedDevice(number, b"\x05" * 33, 1, 1, 0) for number in sorted(numbers))
        state = accounts.encode(Account(self.versions[user] + 1, devices, 1))
        run_now(self.store.commit([Change(accounts.partition(user), self.versions[user], state)]))
        self.versions[user] += 1

    def fetch(self) -> None:
        run_now(self.lists.fetch(self.lists.missing(self.members.now)))

    def check(self) -> None:
        """As the lists say it one by one, which is slow."""
        found = self.lists.audience(self.members)
        if self.lists.missing(USERS):
            assert found is None
            return
        assert found is not None
        devices = self.lists.devices(USERS)
        assert [device for device, _ in found.boxes] == devices
        assert found.devices == set(devices)
        assert list(found.without) == [user for user in USERS if not self.lists.account(user).devices]


class Step(NamedTuple):
    """Something that happens to one user's list, or to all."""

    what: str
    user: UserId = USERS[0]
    numbers: frozenset[int] = frozenset()
    seconds: float = 0.0


numbers = st.frozensets(st.integers(1, 3))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(USERS), numbers).map(lambda drawn: Step("write", *drawn)),
        st.sampled_from(USERS).map(lambda user: Step("forget", user)),
        st.sampled_from([1.0, 9.5, 10.5]).map(lambda seconds: Step("wait", seconds=seconds)),
        st.just(Step("fetch")),
    ),
    max_size=30,
)


def play(world: World, some: list[Step]) -> None:
    for step in some:
        match step.what:
            case "write":
                world.write(step.user, step.numbers)
            case "forget":
                world.lists.forget(step.user)
            case "wait":
                world.sim.now += step.seconds
            case _:
                world.fetch()
        world.check()


@given(steps)
def test_an_audience_is_what_the_lists_say_one_by_one(some: list[Step]) -> None:
    play(World(), some)


@pytest.mark.replaces
@pytest.mark.parametrize("make", [Forgetful, Ageless])
def test_one_that_outlives_what_it_rests_on_is_caught(make: Callable[..., DeviceLists]) -> None:
    story = [
        Step("write", numbers=frozenset({1})),
        Step("fetch"),
        Step("write", numbers=frozenset({1, 2})),
        Step("forget"),
        Step("fetch"),
        Step("wait", seconds=10.5),
    ]
    play(World(), story)
    with pytest.raises(AssertionError):
        play(World(make), story)


def test_the_same_audience_is_not_made_again() -> None:
    world = World()
    world.fetch()
    assert world.lists.audience(world.members) is world.lists.audience(world.members)


@given(numbers, st.frozensets(st.integers(1, 4)), st.integers(1, 4))
def test_a_message_names_all_devices_but_its_senders(
    linked: frozenset[int], named: frozenset[int], number: int
) -> None:
    world = World()
    world.write(USERS[0], linked)
    world.fetch()
    audience = world.lists.audience(world.members)
    assert audience is not None
    sender = DeviceId(USERS[0], number)
    wanted = {DeviceId(USERS[0], one) for one in linked} - {sender}
    given_ = {DeviceId(USERS[0], one) for one in named}
    assert audience.is_exactly(given_, sender=sender) == (given_ == wanted)
