"""Plans: who gets a copy, in which batches, at what cost."""

from __future__ import annotations

import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import DeviceId, GatewayId, UserId
from whisperkit.errors import UsageError
from whisperkit.fanout import (
    SHARED_ENTRY_BYTES,
    Append,
    Cost,
    Enqueue,
    Hint,
    Limits,
    Notify,
    Plan,
    PlanStep,
    Strategy,
    cost_bound,
    deliver,
    iter_plan,
    plan,
)

ALICE, TABLET = DeviceId.named("alice", 1), DeviceId.named("alice", 2)
PHONE, LAPTOP = DeviceId.named("bob", 1), DeviceId.named("bob", 2)
G1, G2 = GatewayId("g1"), GatewayId("g2")
ROSTER = {ALICE.user: [ALICE, TABLET], PHONE.user: [PHONE, LAPTOP]}
LIMITS = Limits()


def user(number: int) -> UserId:
    return UserId(uuid.UUID(int=number))


def crowd(count: int) -> dict[UserId, list[DeviceId]]:
    return {user(number): [DeviceId(user(number), 1)] for number in range(count)}


def appended(steps: Sequence[PlanStep]) -> list[DeviceId]:
    return [device for step in steps if isinstance(step, Append) for device in step.devices]


def test_every_device_gets_a_copy_but_the_one_that_posts() -> None:
    found = plan(sender=ALICE, roster=ROSTER, online={}, limits=LIMITS)

    assert found.strategy is Strategy.SMALL
    assert found.steps == (Append(devices=tuple(sorted([TABLET, PHONE, LAPTOP]))),)
    assert found.cost == Cost(inboxes=3, appends=1)


def test_who_is_connected_is_woken_after_the_append() -> None:
    online = {PHONE: G2, TABLET: G1, ALICE: G1, DeviceId.named("stranger", 1): G1}

    found = plan(sender=ALICE, roster=ROSTER, online=online, limits=LIMITS)

    assert found.steps[1:] == (Hint(gateway=G1, devices=(TABLET,)), Hint(gateway=G2, devices=(PHONE,)))
    assert found.cost == Cost(inboxes=3, appends=1, calls=2)


def test_a_mid_post_is_left_to_workers_in_batches() -> None:
    found = plan(sender=ALICE, roster=crowd(600), online={}, limits=LIMITS)

    assert [len(step.devices) for step in found.steps if isinstance(step, Enqueue)] == [256, 256, 88]
    assert found.cost == Cost(jobs=3)


def test_what_a_worker_takes_is_delivered_like_a_small_post() -> None:
    online = {PHONE: G1, LAPTOP: G1}

    steps = list(deliver([PHONE, LAPTOP], online=online, limits=LIMITS))

    assert steps == [Append(devices=(PHONE, LAPTOP)), Hint(gateway=G1, devices=(PHONE, LAPTOP))]


def test_a_mega_post_is_told_to_gateways_only() -> None:
    roster = crowd(5_001)
    online = {devices[0]: (G1, G2)[at % 2] for at, devices in enumerate(roster.values())}

    found = plan(sender=ALICE, roster=roster, online=online, limits=LIMITS)

    assert found.steps == (Notify(gateways=(G1, G2)),)
    assert found.cost == Cost(calls=2)


def test_a_gateway_with_only_the_posting_device_is_not_told() -> None:
    found = plan(sender=ALICE, roster=ROSTER, online={ALICE: G1}, limits=LIMITS, strategy=Strategy.MEGA)

    assert found.steps == ()


def test_many_gateways_are_told_in_batches() -> None:
    roster = crowd(600)
    online = {devices[0]: GatewayId(f"g{at}") for at, devices in enumerate(roster.values())}

    found = plan(sender=ALICE, roster=roster, online=online, limits=LIMITS, strategy=Strategy.MEGA)

    assert [len(step.gateways) for step in found.steps if isinstance(step, Notify)] == [256, 256, 88]
    assert found.cost == Cost(calls=600)


def test_a_row_is_planned_by_its_own_strategy() -> None:
    found = plan(sender=ALICE, roster=ROSTER, online={}, limits=LIMITS, strategy=Strategy.MID)

    assert [type(step) for step in found.steps] == [Enqueue]


def test_a_batch_is_bounded_in_bytes() -> None:
    sizes = {PHONE: 200_000, LAPTOP: 100_000, TABLET: 60_000}

    steps = list(deliver([PHONE, LAPTOP, TABLET], online={}, limits=LIMITS, size_of=sizes.__getitem__))

    assert steps == [Append(devices=(PHONE,)), Append(devices=(LAPTOP, TABLET))]


def test_an_entry_larger_than_a_batch_travels_alone() -> None:
    steps = list(deliver([PHONE, LAPTOP], online={}, limits=LIMITS, size_of=lambda _: 1 << 20))

    assert steps == [Append(devices=(PHONE,)), Append(devices=(LAPTOP,))]


def test_a_device_under_another_user_is_refused() -> None:
    with pytest.raises(UsageError, match="is listed under user"):
        plan(sender=ALICE, roster={ALICE.user: [PHONE]}, online={}, limits=LIMITS)


def test_an_empty_audience_costs_nothing() -> None:
    for strategy in Strategy:
        assert plan(sender=ALICE, roster={}, online={}, limits=LIMITS, strategy=strategy).cost == Cost()
        assert cost_bound(strategy, devices=0, gateways=0, limits=LIMITS) == Cost()


# ---- laws, and planners that a good developer could have built -------------------------------------------------------

SMALL_LIMITS = Limits(batch_devices=3, batch_bytes=100)
Planner = Callable[[DeviceId, Mapping[UserId, Sequence[DeviceId]], Mapping[DeviceId, GatewayId], Strategy], Plan]


def good(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    return plan(sender=sender, roster=roster, online=online, limits=SMALL_LIMITS, strategy=strategy)


def of(steps: Sequence[PlanStep], strategy: Strategy) -> Plan:
    cost = Cost()
    for step in steps:
        cost = cost.plus(step)
    return Plan(strategy=strategy, steps=tuple(steps), cost=cost)


def forgets_own_devices(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    return good(sender, {who: devices for who, devices in roster.items() if who != sender.user}, online, strategy)


def copies_to_the_sender(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    return good(DeviceId.named("nobody", 1), roster, online, strategy)


def wakes_first(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    return of(good(sender, roster, online, strategy).steps[::-1], strategy)


def one_big_batch(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    return plan(sender=sender, roster=roster, online=online, limits=LIMITS, strategy=strategy)


def one_call_per_device(
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> Plan:
    steps: list[PlanStep] = []
    for step in good(sender, roster, online, strategy).steps:
        one_by_one = (
            [Hint(gateway=step.gateway, devices=(d,)) for d in step.devices] if isinstance(step, Hint) else [step]
        )
        steps.extend(one_by_one)
    return of(steps, strategy)


def check(
    planner: Planner,
    sender: DeviceId,
    roster: Mapping[UserId, Sequence[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    strategy: Strategy,
) -> None:
    found = planner(sender, roster, online, strategy)
    audience = {device for devices in roster.values() for device in devices} - {sender}
    connected = {device: online[device] for device in audience if device in online}
    served, woken, told = Counter[DeviceId](), Counter[DeviceId](), Counter[GatewayId]()
    for step in found.steps:
        match step:
            case Append(devices=devices) | Enqueue(devices=devices):
                assert 0 < len(devices) <= SMALL_LIMITS.batch_devices
                assert len(devices) == 1 or 32 * len(devices) <= SMALL_LIMITS.batch_bytes
                served.update(devices)
            case Hint(gateway=gateway, devices=devices):
                assert all(served[device] and connected.get(device) == gateway for device in devices)
                woken.update(devices)
            case Notify(gateways=gateways):
                assert 0 < len(gateways) <= SMALL_LIMITS.batch_devices
                told.update(gateways)
    assert served == (Counter(audience) if strategy.is_pushed else Counter())
    assert woken == (Counter(connected.keys()) if strategy is Strategy.SMALL else Counter())
    assert told == (Counter(set(connected.values())) if strategy is Strategy.MEGA else Counter())
    bound = cost_bound(
        strategy, devices=len(audience), gateways=len(set(connected.values())), limits=SMALL_LIMITS, entry_bytes=32
    )
    assert all(cost <= most for cost, most in zip(found.cost, bound, strict=True))
    shuffled = {who: list(roster[who])[::-1] for who in list(roster)[::-1]}
    assert planner(sender, shuffled, dict(list(online.items())[::-1]), strategy) == found


EVERY_DEVICE = [DeviceId(user(number), device) for number in range(5) for device in (1, 2, 3)]
rosters = st.dictionaries(st.integers(0, 4), st.lists(st.integers(1, 3), max_size=4), max_size=5).map(
    lambda found: {user(who): [DeviceId(user(who), number) for number in numbers] for who, numbers in found.items()}
)
onlines = st.dictionaries(st.sampled_from(EVERY_DEVICE), st.sampled_from([G1, G2]), max_size=15)


@given(st.sampled_from(EVERY_DEVICE), rosters, onlines, st.sampled_from(Strategy))
def test_each_plan_serves_exactly_its_audience_in_bounded_batches_at_a_bounded_cost(
    sender: DeviceId,
    roster: dict[UserId, list[DeviceId]],
    online: dict[DeviceId, GatewayId],
    strategy: Strategy,
) -> None:
    check(good, sender, roster, online, strategy)


@pytest.mark.parametrize(
    "broken", [forgets_own_devices, copies_to_the_sender, wakes_first, one_big_batch, one_call_per_device]
)
def test_a_wrong_planner_is_caught(broken: Planner) -> None:
    roster = {user(who): [DeviceId(user(who), number) for number in (1, 2)] for who in range(3)}
    online = dict.fromkeys(EVERY_DEVICE, G1)
    check(good, EVERY_DEVICE[0], roster, online, Strategy.SMALL)

    with pytest.raises(AssertionError):
        check(broken, EVERY_DEVICE[0], roster, online, Strategy.SMALL)


def device_by_device(
    sender: DeviceId, roster: Iterable[tuple[UserId, Sequence[DeviceId]]], online: Mapping[DeviceId, GatewayId]
) -> list[PlanStep]:
    """A small post, slowly: the oracle."""
    steps: list[PlanStep] = []
    batch: list[DeviceId] = []
    devices = [device for _, found in roster for device in dict.fromkeys(found) if device != sender]
    for place, device in enumerate(devices, start=1):
        batch.append(device)
        is_full = len(batch) == SMALL_LIMITS.batch_devices or 32 * (len(batch) + 1) > SMALL_LIMITS.batch_bytes
        if is_full or place == len(devices):
            steps.append(Append(devices=tuple(batch)))
            gateways = sorted({online[d] for d in batch if d in online})
            steps += [Hint(gateway=g, devices=tuple(d for d in batch if online.get(d) == g)) for g in gateways]
            batch = []
    return steps


@given(st.sampled_from(EVERY_DEVICE), rosters, onlines)
def test_shared_entries_are_planned_as_if_each_was_looked_at(
    sender: DeviceId, roster: dict[UserId, list[DeviceId]], online: dict[DeviceId, GatewayId]
) -> None:
    def planned(size_of: Callable[[DeviceId], int] | None) -> list[PlanStep]:
        steps = iter_plan(
            sender=sender,
            roster=roster.items(),
            online=online,
            limits=SMALL_LIMITS,
            strategy=Strategy.SMALL,
            size_of=size_of,
        )
        return list(steps)

    assert planned(None) == device_by_device(sender, roster.items(), online)
    assert planned(lambda _: SHARED_ENTRY_BYTES) == planned(None)


@given(st.lists(st.integers(1, 150), max_size=20))
def test_the_bound_holds_for_entries_of_any_size(sizes: list[int]) -> None:
    devices = [DeviceId(user(number), 1) for number in range(len(sizes))]

    steps = list(
        deliver(devices, online={}, limits=SMALL_LIMITS, size_of=dict(zip(devices, sizes, strict=True)).__getitem__)
    )

    most = cost_bound(
        Strategy.SMALL, devices=len(devices), gateways=0, limits=SMALL_LIMITS, entry_bytes=max(sizes, default=1)
    )
    assert appended(steps) == devices
    assert len(steps) <= most.appends


# ---- a very large roster ---------------------------------------------------------------------------------------------


POOL = [(who, devices) for who, devices in crowd(1_000).items()]


@pytest.mark.parametrize("strategy", Strategy)
def test_a_roster_streams_through_in_constant_memory(strategy: Strategy) -> None:
    # The users come round again, so that all that is measured is what the planner keeps.
    roster = islice(cycle(POOL), 50_000)
    online = {devices[0]: GatewayId(f"g{at % 100}") for at, (_, devices) in enumerate(POOL)}
    tracemalloc.start()

    for _ in iter_plan(sender=ALICE, roster=roster, online=online, limits=LIMITS, strategy=strategy):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 100_000


def test_steps_come_before_the_roster_is_read_to_its_end() -> None:
    roster = cycle(POOL)  # which has no end

    first = next(iter_plan(sender=ALICE, roster=roster, online={}, limits=LIMITS, strategy=Strategy.MID))

    assert isinstance(first, Enqueue)
    assert len(first.devices) == LIMITS.batch_devices
