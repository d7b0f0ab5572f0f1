"""What a `PartitionStore` promises for any sequence of calls: that it ends as in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperkit.partitions import (
    Change,
    Head,
    Partition,
    Row,
    Span,
)
from whisperkit.stores import PartitionStore
from whisperkit.testing.conformance import Lab, expect
from whisperkit.testing.partition_lab import PartitionLab, contents, refused

__all__ = ["any_sequence_of_calls_ends_as_in_a_dictionary"]


class _Commit(NamedTuple):
    """A commit in a program: versions are relative, so that most apply and some do not."""

    changes: dict[int, tuple[int, bytes, dict[bytes, bytes | None]]]


class _Look(NamedTuple):
    """A read in a program."""

    number: int
    spans: list[Span]
    limit: int


def _span(one: bytes, other: bytes, reverse: bool) -> Span:
    return Span(min(one, other), max(one, other), reverse)


_PARTITIONS: Final = 3
_KEYS: Final = st.sampled_from([b"a", b"b", b"b\0", b"b\xff", b"c/\0", b"c/\x7f", b"c/\x80", b"d"])
_SPANS: Final = st.builds(_span, _KEYS, _KEYS, st.booleans())
_CHANGES: Final = st.tuples(
    st.sampled_from([0] * 8 + [-1, 1]),
    st.binary(max_size=3),
    st.dictionaries(_KEYS, st.none() | st.binary(max_size=3), max_size=4),
)
_PROGRAMS: Final = st.lists(
    st.builds(_Commit, st.dictionaries(st.integers(0, _PARTITIONS - 1), _CHANGES, min_size=1, max_size=_PARTITIONS))
    | st.builds(_Look, st.integers(0, _PARTITIONS - 1), st.lists(_SPANS, max_size=3), st.integers(1, 6)),
    max_size=25,
)


def any_sequence_of_calls_ends_as_in_a_dictionary(lab: PartitionLab) -> None:
    """Compare with a model of a dozen lines."""

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(program=_PROGRAMS)
    def check(program: list[_Commit | _Look]) -> None:
        fresh = Lab(lab.make, backend=lab.backend, survives_restart=lab.survives_restart)
        fresh.run(lambda: _run_program(fresh, program))

    check()


async def _run_program(lab: PartitionLab, program: Sequence[_Commit | _Look]) -> None:
    names = [lab.partition(f"p{number}") for number in range(_PARTITIONS)]
    model = [_Model() for _ in names]
    async with lab.make() as store:
        for step in program:
            match step:
                case _Commit(changes=changes):
                    await _compare_commit(store, names, model, changes)
                case _Look(number=number, spans=spans, limit=limit):
                    found = await store.rows(names[number], spans, limit=limit)
                    expect(list(found), model[number].read(spans)[:limit], "rows")
            heads = {name: entry.head for name, entry in zip(names, model, strict=True) if entry.head.version}
            expect(dict(await store.heads(names)), heads, "heads")
        for name, entry in zip(names, model, strict=True):
            expect((await contents(store, name))[1], entry.rows, "rows at the end")


class _Model:
    def __init__(self) -> None:
        self.head = Head(0, b"")
        self.rows: dict[bytes, bytes] = {}

    def read(self, spans: Sequence[Span]) -> list[Row]:
        ordered = sorted(Row(*item) for item in self.rows.items())
        return [
            row
            for start, stop, reverse in spans
            for row in (reversed(ordered) if reverse else ordered)
            if start <= row.key < stop
        ]

    def apply(self, change: Change) -> None:
        self.head = Head(self.head.version + 1, change.state)
        self.rows = {key: value for key, value in self.rows.items() if key not in change.delete} | dict(change.put)


async def _compare_commit(
    store: PartitionStore,
    names: Sequence[Partition],
    model: Sequence[_Model],
    wanted: Mapping[int, tuple[int, bytes, Mapping[bytes, bytes | None]]],
) -> None:
    changes = {number: _change(names[number], model[number], *wanted[number]) for number in sorted(wanted)}
    groups = [changes] if store.spans_partitions else [{number: change} for number, change in changes.items()]
    for group in groups:
        if all(change.expected == model[number].head.version for number, change in group.items()):
            await store.commit(list(group.values()))
            for number, change in group.items():
                model[number].apply(change)
        else:
            await refused(store, list(group.values()), "law 2")


def _change(name: Partition, entry: _Model, offset: int, state: bytes, rows: Mapping[bytes, bytes | None]) -> Change:
    put = tuple(Row(key, value) for key, value in rows.items() if value is not None)
    delete = tuple(key for key, value in rows.items() if value is None)
    return Change(name, max(0, entry.head.version + offset), state, put, delete)
