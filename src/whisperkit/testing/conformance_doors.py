"""What the smaller doors promise, as checks: marks, jobs, the directory, the bytes of attachments.

Jobs and directory promise things about time, so their makers give a way to let it pass beside the thing itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final, NamedTuple, TypeAlias

import anyio
import anyio.lowlevel

from whisperkit.errors import WhisperError
from whisperkit.ids import BlobId, ConversationId, ConversationSeq, DeviceId, GatewayId, Owner
from whisperkit.stores import (
    Absent,
    Binding,
    BlobBytes,
    Bound,
    Claim,
    Directory,
    Job,
    JobLog,
    Kept,
    Lookup,
    Mark,
    MarkStore,
    Newer,
    Token,
    Unbound,
    Unknown,
)
from whisperkit.testing.conformance import Check, Conformance, Lab, LawBrokenError, NotApplicable, expect, in_lab

__all__ = [
    "BLOB_CHECKS",
    "DIRECTORY_CHECKS",
    "JOB_CHECKS",
    "MARK_CHECKS",
    "BlobBytesConformance",
    "DirectoryConformance",
    "DirectoryInTime",
    "JobLogConformance",
    "JobsInTime",
    "MarkStoreConformance",
]


# ---- marks ----------------------------------------------------------------------------------------------------------


@in_lab
async def a_mark_never_falls(lab: Lab[MarkStore]) -> None:
    partition, other = lab.partition("p"), lab.partition("q")
    async with lab.make() as store:
        for value in (3, 7, 5, 7, 0):
            await store.raise_marks([Mark(partition, "read/a", value), Mark(partition, "read/b", 1)])
        await store.raise_marks([])

        found = await store.marks([partition, other])

        expect(dict(found[partition]), {"read/a": 7, "read/b": 1}, "a mark keeps the highest value")
        expect(dict(found.get(other, {})), {}, "a partition has its own marks only")


@in_lab
async def marks_of_one_call_may_repeat_and_be_many(lab: Lab[MarkStore]) -> None:
    names = [f"delivered/{number:04}" for number in range(1_200)]
    partitions = [lab.partition(f"p{number}") for number in range(300)]
    async with lab.make() as store:
        await store.raise_marks([Mark(partitions[0], "m", value) for value in (1, 9, 4)])
        await store.raise_marks([Mark(partitions[1], name, number) for number, name in enumerate(names)])
        await store.raise_marks([Mark(partition, "w", 2**63 - 1) for partition in partitions[2:]])

        found = await store.marks(partitions)

        expect(dict(found[partitions[0]]), {"m": 9}, "the highest of a call counts")
        expect(dict(found[partitions[1]]), {name: number for number, name in enumerate(names)}, "all marks are read")
        widest = {partition: dict(found[partition]) for partition in partitions[2:]}
        expect(
            widest, {partition: {"w": 2**63 - 1} for partition in partitions[2:]}, "63 bits, any number of partitions"
        )


@in_lab
async def marks_raised_at_once_end_at_the_highest(lab: Lab[MarkStore]) -> None:
    partition = lab.partition("p")

    async def raise_some(store: MarkStore, seed: int) -> None:
        values = list(range(seed, 80, 8))
        Random(seed).shuffle(values)
        for value in values:
            marks = [Mark(partition, "m", value), Mark(partition, f"s{seed}", value)]
            await _patiently(partial(store.raise_marks, marks))

    async with lab.make() as store:
        async with anyio.create_task_group() as group:
            for seed in range(8):
                group.start_soon(raise_some, store, seed)

        found = await store.marks([partition])
        expect(dict(found[partition]), {"m": 79} | {f"s{seed}": 72 + seed for seed in range(8)}, "no raise is lost")


@in_lab
async def marks_are_there_after_a_restart(lab: Lab[MarkStore]) -> None:
    partition = lab.partition("p")
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as store:
        await store.raise_marks([Mark(partition, "m", 4)])

    async with lab.make() as store:
        expect(dict((await store.marks([partition]))[partition]), {"m": 4}, "marks survive a restart")


async def _patiently(call: Callable[[], Awaitable[None]]) -> None:
    """Repeat a call until it is answered, as every caller of these doors does."""
    while True:
        try:
            return await call()
        except WhisperError:
            await anyio.lowlevel.checkpoint()


# ---- jobs -----------------------------------------------------------------------------------------------------------


class JobsInTime(NamedTuple):
    """A job log and its clock.

    Attributes:
        jobs: What is checked.
        wait: Lets so many seconds pass.
        claim_s: After how long a job that was taken and not done comes again.
    """

    jobs: JobLog
    wait: Callable[[float], Awaitable[None]]
    claim_s: float


JobLab: TypeAlias = Lab[JobsInTime]


async def _take_all(made: JobsInTime) -> list[Claim]:
    """Take until three attempts in a row found nothing: a log over a network may be slow to show a job."""
    claims: list[Claim] = []
    misses = 0
    while misses < 3:
        claim = await made.jobs.take(10)
        misses = 0 if claim.jobs else misses + 1
        if claim.jobs:
            claims.append(claim)
        else:
            await made.wait(0.01)
    return claims


def _highest(claims: Sequence[Claim]) -> dict[ConversationId, int]:
    """How far each conversation is to be finished, and that its jobs came in order."""
    upto: dict[ConversationId, int] = {}
    for job in (job for claim in claims for job in claim.jobs):
        if job.upto < upto.get(job.conversation, 0):
            raise LawBrokenError(
                f"jobs of {job.conversation} came out of order: {job.upto} after {upto[job.conversation]}"
            )
        upto[job.conversation] = job.upto
    return upto


async def _put(made: JobsInTime, conversation: ConversationId, upto: int) -> None:
    await _patiently(partial(made.jobs.put, conversation, ConversationSeq(upto)))


@in_lab
async def a_job_that_was_put_is_taken_and_once_done_is_gone(lab: JobLab) -> None:
    one, other = ConversationId(lab.name("one")), ConversationId(lab.name("two"))
    async with lab.make() as made:
        await _put(made, one, 3)
        await _put(made, other, 1)
        await _put(made, one, 5)
        await _put(made, one, 4)

        claims = await _take_all(made)

        expect(_highest(claims), {one: 5, other: 1}, "every job is covered, the highest number last")
        for claim in claims:
            await made.jobs.done(claim)
        await made.wait(made.claim_s + 1)
        expect(_highest(await _take_all(made)), {}, "what is done does not come again")


@in_lab
async def a_job_that_was_taken_and_not_done_comes_again(lab: JobLab) -> None:
    conversation = ConversationId(lab.name("c"))
    async with lab.make() as made:
        await _put(made, conversation, 3)
        first = await _take_all(made)

        await made.wait(made.claim_s + 1)

        expect(_highest(first), {conversation: 3}, "a job is taken")
        expect(_highest(await _take_all(made)), {conversation: 3}, "what is not done comes again")


@in_lab
async def a_job_put_while_another_is_being_done_is_not_lost(lab: JobLab) -> None:
    conversation = ConversationId(lab.name("c"))
    async with lab.make() as made:
        await _put(made, conversation, 3)
        claims = await _take_all(made)
        await _put(made, conversation, 4)
        for claim in claims:
            await made.jobs.done(claim)

        expect(_highest(await _take_all(made)), {conversation: 4}, "done covers what the claim named, and no more")


@in_lab
async def a_zombie_that_says_done_is_harmless(lab: JobLab) -> None:
    conversation = ConversationId(lab.name("c"))
    async with lab.make() as made:
        await _put(made, conversation, 3)
        late = await _take_all(made)
        await made.wait(made.claim_s + 1)
        for claim in await _take_all(made):
            await made.jobs.done(claim)
        await _put(made, conversation, 9)

        for claim in [*late, *late, Claim((Job(conversation, ConversationSeq(1)),), b"unknown")]:
            await made.jobs.done(claim)
        await made.wait(made.claim_s + 1)

        expect(_highest(await _take_all(made)), {conversation: 9}, "an old done does not take a new job away")


@in_lab
async def no_more_jobs_are_taken_than_asked_for(lab: JobLab) -> None:
    names = [ConversationId(lab.name(f"c{number}")) for number in range(7)]
    async with lab.make() as made:
        for name in names:
            await _put(made, name, 1)

        sizes = [len((await made.jobs.take(3)).jobs) for _ in range(8)]

        if max(sizes) > 3:
            raise LawBrokenError(f"3 jobs were asked for, {max(sizes)} came")


@in_lab
async def jobs_put_at_once_are_all_covered(lab: JobLab) -> None:
    names = [ConversationId(lab.name(f"c{number}")) for number in range(5)]

    async def put_some(made: JobsInTime, worker: int) -> None:
        for upto in range(1, 8):
            for name in names[worker % 2 :: 2]:
                await _put(made, name, upto)

    async with lab.make() as made:
        async with anyio.create_task_group() as group:
            for worker in range(6):
                group.start_soon(put_some, made, worker)

        claims = await _take_all(made)
        highest: dict[ConversationId, int] = {}
        for job in (job for claim in claims for job in claim.jobs):
            highest[job.conversation] = max(job.upto, highest.get(job.conversation, 0))
        expect(highest, dict.fromkeys(names, 7), "no job is lost")


@in_lab
async def jobs_are_there_after_a_restart(lab: JobLab) -> None:
    taken, waiting = ConversationId(lab.name("a")), ConversationId(lab.name("b"))
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as made:
        await _put(made, taken, 2)
        await _take_all(made)
        await _put(made, waiting, 3)

    async with lab.make() as made:
        await made.wait(made.claim_s + 1)
        expect(_highest(await _take_all(made)), {taken: 2, waiting: 3}, "jobs survive a restart")


# ---- where devices are connected ------------------------------------------------------------------------------------


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
        device, older, newer = await _scene(lab, made)
        await made.directory.bind([older])
        await made.wait(_TTL_S - 5)
        await made.directory.alive(older.owner, _TTL_S)
        await made.wait(10)
        alive = await _where(made, device)
        gone_then = await made.directory.gone()
        await made.wait(_TTL_S)

        expect(alive, Bound(older), "a lease that is renewed holds")
        expect(
            [o for o in gone_then if o in (older.owner, newer.owner)], [newer.owner], "a lease that ran out is named"
        )
        expect(await _where(made, device), Unbound(device), "a binding at a dead gateway does not count")
        gone = await made.directory.gone()
        expect({older.owner, newer.owner} <= set(gone), True, "owners whose lease ran out are named")
        await made.directory.alive(older.owner, _TTL_S)
        expect(older.owner in await made.directory.gone(), False, "an owner may come back")


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
        gone = await made.directory.gone()

        expect(
            dict(early),
            {device: Bound(binding), stranger: Unknown(stranger)},
            "a young directory knows what it was told",
        )
        expect(list(gone), [], "a young directory names nobody as gone")
        await made.wait(made.young_s / 2 + 1)
        expect(await _where(made, stranger), Unbound(stranger), "in time it knows who is not there")


# ---- attachments ----------------------------------------------------------------------------------------------------


def _blob(lab: Lab[BlobBytes], number: int) -> BlobId:
    return BlobId(f"{lab.name('').removeprefix('kit-').rstrip('-')}{number:020x}")


@in_lab
async def bytes_are_read_where_they_were_written(lab: Lab[BlobBytes]) -> None:
    blob, other = _blob(lab, 1), _blob(lab, 2)
    async with lab.make() as store:
        sizes = [await store.put(blob, 0, b"hello "), await store.put(blob, 6, b"world")]

        expect(sizes, [6, 11], "put returns the size")
        parts = [
            await store.read(blob, *where) for where in ((0, 100), (6, 5), (4, 3), (9, 5), (11, 5), (50, 5), (0, 0))
        ]
        expect(parts, [b"hello world", b"world", b"o w", b"ld", b"", b"", b""], "read is exact, and shorter at the end")
        expect(await store.read(other, 0, 10), b"", "nothing is read of what is not there")


@in_lab
async def a_write_may_be_repeated(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    chunk = bytes(range(256)) * 1_024
    async with lab.make() as store:
        await store.put(blob, 0, chunk)
        await store.put(blob, len(chunk), chunk)
        again = await store.put(blob, 0, chunk)

        expect(again, 2 * len(chunk), "a repeated write cuts nothing off")
        expect(await store.read(blob, len(chunk) - 2, 4), chunk[-2:] + chunk[:2], "a repeated write changes nothing")


@in_lab
async def a_hole_is_refused(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")
        try:
            await store.put(blob, 5, b"x")
        except WhisperError:
            expect(await store.read(blob, 0, 10), b"abc", "a refused write changes nothing")
        else:
            raise LawBrokenError("an offset beyond the end leaves a hole, and was accepted")


@in_lab
async def a_dropped_attachment_is_gone(lab: Lab[BlobBytes]) -> None:
    blob, other = _blob(lab, 1), _blob(lab, 2)
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")
        await store.put(other, 0, b"def")

        await store.drop(blob)
        await store.drop(blob)

        expect([await store.read(name, 0, 9) for name in (blob, other)], [b"", b"def"], "drop forgets one and no other")
        expect(await store.put(blob, 0, b"x"), 1, "what was dropped begins anew")


@in_lab
async def bytes_are_there_after_a_restart(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")

    async with lab.make() as store:
        expect(await store.put(blob, 3, b"d"), 4, "an upload goes on after a restart")
        expect(await store.read(blob, 0, 9), b"abcd", "bytes survive a restart")


# ---- the kits -------------------------------------------------------------------------------------------------------

MARK_CHECKS: Final[tuple[Check[MarkStore], ...]] = (
    a_mark_never_falls,
    marks_of_one_call_may_repeat_and_be_many,
    marks_raised_at_once_end_at_the_highest,
    marks_are_there_after_a_restart,
)

JOB_CHECKS: Final[tuple[Check[JobsInTime], ...]] = (
    a_job_that_was_put_is_taken_and_once_done_is_gone,
    a_job_that_was_taken_and_not_done_comes_again,
    a_job_put_while_another_is_being_done_is_not_lost,
    a_zombie_that_says_done_is_harmless,
    no_more_jobs_are_taken_than_asked_for,
    jobs_put_at_once_are_all_covered,
    jobs_are_there_after_a_restart,
)

DIRECTORY_CHECKS: Final[tuple[Check[DirectoryInTime], ...]] = (
    the_higher_connection_wins_whenever_it_arrives,
    a_renewal_is_superseded_only_by_a_newer_connection,
    only_who_bound_unbinds,
    a_binding_counts_while_its_gateway_lives,
    a_young_directory_does_not_guess,
)

BLOB_CHECKS: Final[tuple[Check[BlobBytes], ...]] = (
    bytes_are_read_where_they_were_written,
    a_write_may_be_repeated,
    a_hole_is_refused,
    a_dropped_attachment_is_gone,
    bytes_are_there_after_a_restart,
)


class MarkStoreConformance(Conformance[MarkStore]):
    """Checks a `MarkStore`."""

    checks: Sequence[Check[MarkStore]] = MARK_CHECKS


class JobLogConformance(Conformance[JobsInTime]):
    """Checks a `JobLog`; the log is empty when it is made, or holds what an earlier run left and nobody took."""

    checks: Sequence[Check[JobsInTime]] = JOB_CHECKS


class DirectoryConformance(Conformance[DirectoryInTime]):
    """Checks a `Directory`; it is young when it is made."""

    checks: Sequence[Check[DirectoryInTime]] = DIRECTORY_CHECKS


class BlobBytesConformance(Conformance[BlobBytes]):
    """Checks `BlobBytes`."""

    checks: Sequence[Check[BlobBytes]] = BLOB_CHECKS
