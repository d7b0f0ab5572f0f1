from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.bench.ratchet.profiling import OPERATIONS, part_of, plain, render_profile
from tests.bench.ratchet.sampling import Job, Place, Profile, is_available, sample


def burn() -> int:
    return sum(n * n for n in range(400_000))


@pytest.mark.skipif(not is_available(), reason="the system has no timers of CPU time")
def test_time_is_billed_to_the_function_that_takes_it() -> None:
    found = sample((Job(1, burn) for _ in range(10)), within=__name__, seconds=60)

    burnt = sum(count for place, count in found.samples.items() if place.function.startswith("burn"))
    assert burnt > 0.9 * found.samples.total() > 0  # a tick between two jobs is the caller's: this test's
    assert found.us > 0
    assert found.plain_us > 0


@pytest.mark.skipif(not is_available(), reason="the system has no timers of CPU time")
def test_what_is_called_from_elsewhere_is_billed_to_nobody() -> None:
    found = sample((Job(1, burn) for _ in range(10)), within="whisperkit.", seconds=60)

    assert {place.module for place in found.samples} == {"outside"}


@pytest.mark.skipif(not is_available(), reason="the system has no timers of CPU time")
def test_looking_ends_when_it_has_looked_for_long_enough() -> None:
    made: list[int] = []

    def jobs() -> Iterator[Job]:
        while True:
            made.append(1)
            yield Job(1, burn)

    sample(jobs(), within=__name__, seconds=0)

    assert len(made) == 2  # one that is not looked at, one that is


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_can_be_done_again_and_again(name: str) -> None:
    for job in islice(OPERATIONS[name](), 2):
        made = job.work()

        assert isinstance(made, list)
        assert len(made) == job.items  # pyright: ignore[reportUnknownArgumentType]  # of whatever it makes


def test_a_module_without_a_part_is_a_part_of_its_own() -> None:
    assert part_of(Place("whisperkit.ratchet.curve", "agree", "", 1)) == "X25519"
    assert part_of(Place("whisperkit.ratchet.novelty", "agree", "", 1)) == "whisperkit.ratchet.novelty"


def test_a_profile_is_shown_by_parts_functions_and_lines(tmp_path: Path) -> None:
    source = tmp_path / "curve.py"
    source.write_text("first\nsecond\n", encoding="ascii")
    seen = Counter(
        {
            Place("whisperkit.ratchet.curve", "agree", str(source), 2): 3,
            Place("outside", "", "", 0): 1,
        }
    )

    shown = render_profile({"encrypt": plain(Profile(seen, us=44.0, plain_us=40.0))}).splitlines()

    assert shown == [
        "encrypt: 40.0 us, 44.0 us under observation, 4 samples",
        "   75.0 %     30.0 us  X25519",
        "   25.0 %     10.0 us  the loop of the benchmark",
        "  by function",
        "   75.0 %     30.0 us  whisperkit.ratchet.curve.agree",
        "   25.0 %     10.0 us  outside",
        "  by line",
        "   75.0 %     30.0 us  ratchet.curve:2: second",
        "   25.0 %     10.0 us  outside",
    ]
