"""What a `Directory` promises, as checks.

Some of it is about time, so what is made has a way to let it pass beside the directory itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from whisperkit.ids import DeviceId, GatewayId, Owner
from whisperkit.stores import (
    Absent,
    Binding,
    Bound,
    Directory,
    Kept,
    Lookup,
    Newer,
    Token,
    Unbound,
    Unknown,
)
from whisperkit.testing.conformance import Check, Conformance, Lab, expect, in_lab

__all__ = ["DIRECTORY_CHECKS", "DirectoryConformance", "DirectoryInTime"]


class DirectoryInTime(NamedTuple):
    """A directory and its clock.

    Attributes:
        directory: What is checked, just made.
        wait: Lets so many seconds pass.
        young_s: For how long it is young.
    """

    directory: Directory
    wait: Callable[[float], Awaitable[None]]
    young_s: float


DirectoryLab: TypeAlias = Lab[DirectoryInTime]
_TTL_S: Final = 30.0


class _Scene(NamedTuple):
    """A device of which two connections are under way, at two gateways that live."""

    device: DeviceId
    older: Binding
    newer: Binding


async def _scene(lab: DirectoryLab, made: DirectoryInTime) -> _Scene:
    device = DeviceId.named(lab.name("device"), 1)
    here, there = (Owner(GatewayId(lab.name(name)), 1) for name in ("here", "there"))
    await made.wait(made.young_s + 1)
    for owner in (here, there):
        await made.directory.alive(owner, _TTL_S)
    return _Scene(device, Binding(device, 5, here, Token(b"older")), Binding(device, 6, there, Token(b"newer")))


async def _where(made: DirectoryInTime, device: DeviceId) -> Lookup:
    return (await made.directory.lookup([device]))[device]


@in_lab
async def the_higher_connection_wins_whenever_it_arrives(lab: DirectoryLab) -> None:
    async with lab.make() as made:
        device, older, newer = await _scene(lab, made)

        first = await made.directory.bind([older])
        second = await made.directory.bind([newer])
        late = await made.directory.bind([older])
        again = await made.directory.bind([newer])

        expect([*first, *second], [Bound(older), Bound(newer)], "a higher connection binds")
        expect(list(late), [Newer(newer)], "a lower connection does not displace, however late it comes")
        expect(list(again), [Bound(newer)], "binding may be repeated")
        expect(await _where(made, device), Bound(newer), "the directory names the newest connection")


@in_lab
async def a_renewal_is_superseded_only_by_a_newer_connection(lab: DirectoryLab) -> None:
    async with lab.make() as made:
        _, older, newer = await _scene(lab, made)
        nothing = await made.directory.keep([newer])
        await made.directory.bind([older])
        below = await made.directory.keep([newer])
        own = await made.directory.keep([older])
        await made.directory.bind([newer])
        above = await made.directory.keep([older, newer])

        expect(list(nothing), [Absent(newer.device)], "nothing there: bind again")
        expect(list(below), [Absent(newer.device)], "an older connection there: bind again, nobody was displaced")
        expect(list(own), [Kept(older)], "a binding that stands is kept")
        expect(list(above), [Newer(newer), Kept(newer)], "a newer connection displaces; answers come in order")


@in_lab
async def only_who_bound_unbinds(lab: DirectoryLab) -> None:
    async with lab.make() as made:
        device, older, newer = await _scene(lab, made)
        await made.directory.bind([older])
        await made.directory.bind([newer])

        await made.directory.unbind(device, older.token)
        kept = await _where(made, device)
        await made.directory.unbind(device, newer.token)
        await made.directory.unbind(device, newer.token)

        expect(kept, Bound(newer), "a displaced connection that closes takes nothing away")
        expect(await _where(made, device), Unbound(device), "who bound takes it away")


@in_lab
async def a_binding_counts_while_its_gateway_lives(lab: DirectoryLab) -> None:
    async with lab.make() as made:
        device, older, _ = await _scene(lab, made)
        await made.directory.bind([older])
        await made.wait(_TTL_S - 5)
        await made.directory.alive(older.owner, _TTL_S)
        await made.wait(10)
        alive = await _where(made, device)
        await made.wait(_TTL_S)

        expect(alive, Bound(older), "a lease that is renewed holds")
        expect(await _where(made, device), Unbound(device), "a binding at a dead gateway does not count")


@in_lab
async def who_has_no_lease_is_gone(lab: DirectoryLab) -> None:
    async with lab.make() as made:
        gone = made.directory.gone
        _, older, newer = await _scene(lab, made)
        both = [older.owner, newer.owner]
        stranger = Owner(GatewayId(lab.name("stranger")), 1)
        at_first = await gone([*both, stranger])
        await made.wait(_TTL_S - 5)
        await made.directory.alive(older.owner, _TTL_S)
        await made.wait(10)
        then = await gone(both)
        of_another_life = await gone([older.owner._replace(incarnation=2)])
        await made.wait(_TTL_S)
        later = await gone(both)
        await made.directory.alive(older.owner, _TTL_S)

        expect(at_first, frozenset([stranger]), "who has a lease is not gone; who never had one is")
        expect(then, frozenset([newer.owner]), "who renews a lease is not gone; whose lease ran out is")
        expect(of_another_life, frozenset([older.owner._replace(incarnation=2)]), "a lease is of one incarnation")
        expect(later, frozenset(both), "all who did not renew are gone")
        expect(await gone(both), frozenset([newer.owner]), "an owner may come back")
        expect(len(await gone([])), 0, "of nobody, nobody is gone")


@in_lab
async def a_young_directory_does_not_guess(lab: DirectoryLab) -> None:
    device, stranger = DeviceId.named(lab.name("device"), 1), DeviceId.named(lab.name("stranger"), 1)
    owner = Owner(GatewayId(lab.name("g")), 1)
    binding = Binding(device, 1, owner, Token(b"t"))
    async with lab.make() as made:
        await made.directory.alive(owner, made.young_s / 4)
        await made.directory.bind([binding])
        early: Mapping[DeviceId, Lookup] = await made.directory.lookup([device, stranger])
        await made.wait(made.young_s / 2)
        gone = await made.directory.gone([owner, Owner(GatewayId(lab.name("h")), 1)])

        expect(
            dict(early),
            {device: Bound(binding), stranger: Unknown(stranger)},
            "a young directory knows what it was told",
        )
        expect(len(gone), 0, "a young directory takes nobody for gone")
        await made.wait(made.young_s / 2 + 1)
        expect(await _where(made, stranger), Unbound(stranger), "in time it knows who is not there")


DIRECTORY_CHECKS: Final[tuple[Check[DirectoryInTime], ...]] = (
    the_higher_connection_wins_whenever_it_arrives,
    a_renewal_is_superseded_only_by_a_newer_connection,
    only_who_bound_unbinds,
    a_binding_counts_while_its_gateway_lives,
    who_has_no_lease_is_gone,
    a_young_directory_does_not_guess,
)


class DirectoryConformance(Conformance[DirectoryInTime]):
    """Checks a `Directory`; it is young when it is made."""

    checks: Sequence[Check[DirectoryInTime]] = DIRECTORY_CHECKS
