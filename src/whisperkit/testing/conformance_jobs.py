"""What a `JobLog` promises, as checks.

Some of it is about time, so what is made has a way to let it pass beside the log itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import anyio

from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.stores import (
    Claim,
    Job,
    JobLog,
)
from whisperkit.testing.conformance import (
    Check,
    Conformance,
    Lab,
    LawBrokenError,
    NotApplicable,
    expect,
    in_lab,
    patiently,
)

__all__ = ["JOB_CHECKS", "JobLogConformance", "JobsInTime"]


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
    await patiently(partial(made.jobs.put, conversation, ConversationSeq(upto)))


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


JOB_CHECKS: Final[tuple[Check[JobsInTime], ...]] = (
    a_job_that_was_put_is_taken_and_once_done_is_gone,
    a_job_that_was_taken_and_not_done_comes_again,
    a_job_put_while_another_is_being_done_is_not_lost,
    a_zombie_that_says_done_is_harmless,
    no_more_jobs_are_taken_than_asked_for,
    jobs_put_at_once_are_all_covered,
    jobs_are_there_after_a_restart,
)


class JobLogConformance(Conformance[JobsInTime]):
    """Checks a `JobLog`; the log is empty when it is made, or holds what an earlier run left and nobody took."""

    checks: Sequence[Check[JobsInTime]] = JOB_CHECKS
