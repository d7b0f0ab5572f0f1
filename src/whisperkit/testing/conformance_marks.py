"""What a `MarkStore` promises, as checks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Final

import anyio

from whisperkit.stores import (
    Mark,
    MarkStore,
)
from whisperkit.testing.conformance import Check, Conformance, Lab, NotApplicable, expect, in_lab, patiently

__all__ = ["MARK_CHECKS", "MarkStoreConformance"]


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
            await patiently(partial(store.raise_marks, marks))

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


MARK_CHECKS: Final[tuple[Check[MarkStore], ...]] = (
    a_mark_never_falls,
    marks_of_one_call_may_repeat_and_be_many,
    marks_raised_at_once_end_at_the_highest,
    marks_are_there_after_a_restart,
)


class MarkStoreConformance(Conformance[MarkStore]):
    """Checks a `MarkStore`."""

    checks: Sequence[Check[MarkStore]] = MARK_CHECKS
