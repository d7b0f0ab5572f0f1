"""What to do with a post: which inboxes get it, whom to wake, what to leave to a worker. No I/O.

The steps are in the order in which they must be done: append, then wake, so that whoever wakes finds
the entry (S9). The rules that do a step are idempotent, so a plan may be done again from any point. A step
is a batch, bounded in devices and bytes, so that no gateway and no commit gets forty thousand devices at
once (F15). A hint may be lost: heads travel in heartbeats, too (F12).

The audience is devices, with exactly one exclusion: the device that posted. Its user's other devices get
a copy like everybody's (F13).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, assert_never

import attrs

from whisperkit.errors import UsageError
from whisperkit.fanout.limits import Limits
from whisperkit.ids import DeviceId, GatewayId, UserId
from whisperkit.strategy import Strategy

__all__ = [
    "SHARED_ENTRY_BYTES",
    "Append",
    "Cost",
    "Enqueue",
    "Hint",
    "Notify",
    "Plan",
    "PlanStep",
    "cost_bound",
    "deliver",
    "iter_plan",
    "plan",
]

# What one inbox holds of a row that the conversation keeps: its tag, conversation and number, with framing.
SHARED_ENTRY_BYTES: Final = 32


@attrs.frozen(kw_only=True)
class Append:
    """Append the entry to the inboxes of these devices, in one go where the store can."""

    devices: tuple[DeviceId, ...]


@attrs.frozen(kw_only=True)
class Hint:
    """Tell a gateway that these devices, connected there, have news in their inboxes."""

    gateway: GatewayId
    devices: tuple[DeviceId, ...]


@attrs.frozen(kw_only=True)
class Enqueue:
    """Leave these devices to a worker, which does `deliver`; a job that names the conversation covers all of them."""

    devices: tuple[DeviceId, ...]


@attrs.frozen(kw_only=True)
class Notify:
    """Tell these gateways that the conversation has a new head; whoever follows it there pulls."""

    gateways: tuple[GatewayId, ...]


PlanStep: TypeAlias = Append | Hint | Enqueue | Notify


class Cost(NamedTuple):
    """What a plan costs.

    Attributes:
        inboxes: Entries written, one for each device.
        appends: Batches of these.
        jobs: Batches left to workers.
        calls: Messages to gateways.
    """

    inboxes: int = 0
    appends: int = 0
    jobs: int = 0
    calls: int = 0

    def plus(self, step: PlanStep) -> Cost:
        """The cost with one more step."""
        match step:
            case Append(devices=devices):
                return self._replace(inboxes=self.inboxes + len(devices), appends=self.appends + 1)
            case Enqueue():
                return self._replace(jobs=self.jobs + 1)
            case Hint():
                return self._replace(calls=self.calls + 1)
            case Notify(gateways=gateways):
                return self._replace(calls=self.calls + len(gateways))
            case _:
                assert_never(step)


@attrs.frozen(kw_only=True)
class Plan:
    """All steps of a post, in order, and what they cost together."""

    strategy: Strategy
    steps: tuple[PlanStep, ...]
    cost: Cost


def plan(
    *,
    sender: DeviceId,
    roster: Mapping[UserId, Collection[DeviceId]],
    online: Mapping[DeviceId, GatewayId],
    limits: Limits,
    strategy: Strategy | None = None,
    size_of: Callable[[DeviceId], int] | None = None,
) -> Plan:
    """Plan a post whose roster is at hand. The same inputs in another order give the same plan.

    Args:
        sender: The posting device, which gets no copy.
        roster: The devices of each user in the audience of the row.
        online: Where devices are connected, as far as is known; others than the audience's are ignored.
        limits: When to do what, and how large a batch may be.
        strategy: The strategy recorded with the row; `None` for what the limits say about a new conversation
            of this size.
        size_of: The bytes of a device's entry, where ciphertexts differ; `None`: each has `SHARED_ENTRY_BYTES`.

    Raises:
        UsageError: A device is listed under a user whose it is not.
    """
    chosen = limits.strategy_for(len(roster)) if strategy is None else strategy
    ordered = ((user, sorted(roster[user])) for user in sorted(roster))
    steps = tuple(
        iter_plan(sender=sender, roster=ordered, online=online, limits=limits, strategy=chosen, size_of=size_of)
    )
    cost = Cost()
    for step in steps:
        cost = cost.plus(step)
    return Plan(strategy=chosen, steps=steps, cost=cost)


def iter_plan(
    *,
    sender: DeviceId,
    roster: Iterable[tuple[UserId, Collection[DeviceId]]],
    online: Mapping[DeviceId, GatewayId],
    limits: Limits,
    strategy: Strategy,
    size_of: Callable[[DeviceId], int] | None = None,
) -> Iterator[PlanStep]:
    """Plan a post while its roster streams by, in memory for one batch, or for the names of the gateways.

    Args:
        sender: As for `plan`.
        roster: Users and their devices, each user once, in the order in which to serve them.
        online: As for `plan`.
        limits: As for `plan`.
        strategy: The strategy recorded with the row.
        size_of: As for `plan`.

    Raises:
        UsageError: A device is listed under a user whose it is not.
    """
    devices = _audience(sender, roster)
    match strategy:
        case Strategy.SMALL:
            yield from deliver(devices, online=online, limits=limits, size_of=size_of)
        case Strategy.MID:
            for batch in _batches(devices, limits, size_of):
                yield Enqueue(devices=batch)
        case Strategy.MEGA:
            gateways = sorted({gateway for device in devices if (gateway := online.get(device)) is not None})
            for start in range(0, len(gateways), limits.batch_devices):
                yield Notify(gateways=tuple(gateways[start : start + limits.batch_devices]))
        case _:
            assert_never(strategy)


def deliver(
    devices: Iterable[DeviceId],
    *,
    online: Mapping[DeviceId, GatewayId],
    limits: Limits,
    size_of: Callable[[DeviceId], int] | None = None,
) -> Iterator[Append | Hint]:
    """Append to inboxes and wake who is connected, batch by batch: a small post, or a worker's part of a mid one."""
    for batch in _batches(devices, limits, size_of):
        yield Append(devices=batch)
        connected: dict[GatewayId, list[DeviceId]] = {}
        for device in batch:
            if (gateway := online.get(device)) is not None:
                connected.setdefault(gateway, []).append(device)
        for gateway in sorted(connected):
            yield Hint(gateway=gateway, devices=tuple(connected[gateway]))


def cost_bound(
    strategy: Strategy, *, devices: int, gateways: int, limits: Limits, entry_bytes: int = SHARED_ENTRY_BYTES
) -> Cost:
    """The most that a post can cost.

    Args:
        strategy: The strategy of the row.
        devices: How many devices are in the audience, less the posting one.
        gateways: How many gateways these are connected to.
        limits: As for `plan`.
        entry_bytes: The size of the largest entry, at least 1.
    """
    # A batch is closed when it is full or when one more of the largest entries would not fit.
    batches = -(-devices // _at_least(limits, entry_bytes))
    match strategy:
        case Strategy.SMALL:
            return Cost(inboxes=devices, appends=batches, calls=min(devices, gateways * batches))
        case Strategy.MID:
            return Cost(jobs=batches)
        case Strategy.MEGA:
            return Cost(calls=min(devices, gateways))
        case _:
            assert_never(strategy)


def _audience(sender: DeviceId, roster: Iterable[tuple[UserId, Collection[DeviceId]]]) -> Iterator[DeviceId]:
    for user, devices in roster:
        # Each once, in order; most users have one, and a roster may have a million of them.
        for device in devices if len(devices) == 1 else dict.fromkeys(devices):
            if device.user != user:
                raise UsageError(f"device {device} is listed under user {user}")
            if device != sender:
                yield device


def _batches(
    devices: Iterable[DeviceId], limits: Limits, size_of: Callable[[DeviceId], int] | None
) -> Iterator[tuple[DeviceId, ...]]:
    return _equal_batches(devices, limits) if size_of is None else _measured_batches(devices, limits, size_of)


def _equal_batches(devices: Iterable[DeviceId], limits: Limits) -> Iterator[tuple[DeviceId, ...]]:
    """What `_measured_batches` makes of shared entries, without a look at each."""
    coming = iter(devices)
    count = _at_least(limits, SHARED_ENTRY_BYTES)
    while batch := tuple(islice(coming, count)):
        yield batch


def _measured_batches(
    devices: Iterable[DeviceId], limits: Limits, size_of: Callable[[DeviceId], int]
) -> Iterator[tuple[DeviceId, ...]]:
    batch: list[DeviceId] = []
    batch_bytes = 0
    for device in devices:
        size = size_of(device)
        if batch and (len(batch) == limits.batch_devices or batch_bytes + size > limits.batch_bytes):
            yield tuple(batch)
            batch, batch_bytes = [], 0
        batch.append(device)
        batch_bytes += size
    if batch:
        yield tuple(batch)


def _at_least(limits: Limits, entry_bytes: int) -> int:
    """How many entries of at most this size any batch holds that is not the last one."""
    return max(1, min(limits.batch_devices, limits.batch_bytes // entry_bytes))
