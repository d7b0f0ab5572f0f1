"""The kit as its users meet it: ten lines under pytest, one call without, and texts that name the law."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from whisperkit.ids import DeviceId
from whisperkit.partitions import Head, Row
from whisperkit.stores import MemoryPartitions, PartitionStore, Unbound, Unknown
from whisperkit.testing import PARTITION_CHECKS, LawBrokenError, Stepwise, run_conformance
from whisperkit.testing.conformance import expect, name_of

pytest_plugins = ["pytester"]

DEVICE = DeviceId.named("alice", 1)
TEN_LINES = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from whisperkit.stores import MemoryPartitions
from whisperkit.testing import PartitionStoreConformance

@asynccontextmanager
async def open_store() -> AsyncIterator[MemoryPartitions]:
    yield MemoryPartitions()

class TestMyPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_store)
    backends = ("asyncio",)
"""


@asynccontextmanager
async def open_stepwise() -> AsyncGenerator[PartitionStore]:
    yield Stepwise(MemoryPartitions())


def test_ten_lines_check_an_adapter_under_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEN_LINES)

    result = pytester.runpytest("-rs", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=len(PARTITION_CHECKS) - 1, skipped=1)
    result.stdout.fnmatch_lines(["*survives_restart is false*"])


def test_a_broken_adapter_fails_under_the_name_of_what_it_breaks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TEN_LINES.replace("MemoryPartitions", "IgnoresReverse").replace(".stores", ".testing.broken_stores")
    )

    result = pytester.runpytest("-k", "order and spans", "-p", "no:cacheprovider")

    result.stdout.fnmatch_lines(["*LawBrokenError: reverse reads from the end: expected *, found *"])
    result.stdout.fnmatch_lines(["FAILED *rows come in the order of spans and keys-asyncio*"])


def test_without_pytest_each_check_and_each_reason_to_skip_is_printed() -> None:
    lines: list[str] = []

    report = run_conformance(open_stepwise, PARTITION_CHECKS, backends=("asyncio", "trio"), print_line=lines.append)

    assert len(report.passed) == 2 * (len(PARTITION_CHECKS) - 4)
    assert len(report.skipped) == 2 * 4
    assert "ok      what was committed is read [trio]" in lines
    assert "skipped several changes apply together [asyncio]: spans_partitions is false" in lines
    assert "skipped everything is there after a restart [asyncio]: survives_restart is false" in lines


def test_a_store_that_keeps_its_contents_passes_the_restart() -> None:
    kept = MemoryPartitions()

    @asynccontextmanager
    async def open_kept() -> AsyncGenerator[PartitionStore]:
        yield kept

    report = run_conformance(open_kept, PARTITION_CHECKS, survives_restart=True, print_line=lambda _: None)
    again = run_conformance(open_kept, PARTITION_CHECKS, survives_restart=True, print_line=lambda _: None)

    assert (len(report.passed), report.skipped) == (len(PARTITION_CHECKS), ())
    assert again == report


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (1, 2),
        ([Row(b"a", b"")], [Row(b"b", b"")]),
        ([Row(b"a", b"")], []),
        ([(b"a", b"")], [Row(b"a", b"")]),
        ({1: Unknown(DEVICE)}, {1: Unbound(DEVICE)}),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
    ],
)
def test_values_of_another_kind_are_another_answer(found: object, wanted: object) -> None:
    with pytest.raises(LawBrokenError, match="the law: expected"):
        expect(found, wanted, "the law")


def test_equal_values_pass() -> None:
    expect({1: [Row(b"a", b"")]}, {1: [Row(b"a", b"")]}, "the law")


def test_a_long_value_is_cut_in_the_text() -> None:
    with pytest.raises(LawBrokenError, match=r"found b'xxx.*x\.\.\. \(1003 characters\)"):
        expect(b"x" * 1_000, b"", "the law")


def test_rows_and_heads_of_the_kit_are_shown_with_what_they_hold() -> None:
    with pytest.raises(LawBrokenError) as caught:
        expect((None, [Row(b"a", b"old")]), (Head(1, b""), [Row(b"a", b"new")]), "the law")

    assert (
        str(caught.value) == "the law: expected (Head(1, b''), [Row(b'a', b'new')]), found (None, [Row(b'a', b'old')])"
    )


def test_a_check_is_named_by_its_sentence() -> None:
    assert name_of(PARTITION_CHECKS[0]) == "what was committed is read"
    assert len({name_of(check) for check in PARTITION_CHECKS}) == len(PARTITION_CHECKS)
