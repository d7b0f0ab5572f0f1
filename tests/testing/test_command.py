"""The simulator from a shell: what it prints of a seed that holds, and of a store that is broken."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from whisperkit.stores import MemoryPartitions, Partition, Row, Span
from whisperkit.testing.__main__ import main
from whisperkit.testing.broken_stores import ReadsAReplica
from whisperkit.testing.decisions import Plan
from whisperkit.testing.ledger import Violation

SMALL = ["--seed", "3", "--messages", "3", "--faults", "2", "--seconds", "9"]


@pytest.fixture(autouse=True)
def _where_makers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of this module, whose makers the command is given by name."""
    monkeypatch.chdir(Path(__file__).parent)


class Watchful(MemoryPartitions):
    """A store that finds out by itself what is wrong with it."""

    async def commit(self, changes: object) -> None:
        """Take nothing."""
        raise Violation("law 1", "half of a commit was there")


@asynccontextmanager
async def open_watchful() -> AsyncGenerator[MemoryPartitions]:
    """A maker of it."""
    yield Watchful()


@asynccontextmanager
async def open_replica() -> AsyncGenerator[ReadsAReplica]:
    """A maker of a store whose rows are one commit behind."""
    yield ReadsAReplica()


class LosesInboxes(MemoryPartitions):
    """A store whose fault depends on a name that the kit does not use."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> list[Row]:
        """Read nothing of an inbox."""
        return [] if partition.startswith("inbox/") else [*await super().rows(partition, spans, limit=limit)]


@asynccontextmanager
async def open_without_inboxes() -> AsyncGenerator[LosesInboxes]:
    """A maker of it."""
    yield LosesInboxes()


def stores(maker: str) -> list[str]:
    return ["--stores", f"test_command:{maker}"]


def test_seeds_that_hold_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["simulate", "--seeds", "2", *SMALL])

    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split(",")[0] for line in said] == ["held       seed 3", "held       seed 4"]


def test_a_store_with_a_fault_is_told_by_what_was_lost_and_by_the_law_that_it_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["simulate", *SMALL, "--keep", str(tmp_path), *stores("open_replica")])

    said = capsys.readouterr().out.splitlines()
    kept = tmp_path / "lost-3.run"
    assert code == 1
    assert said[0].startswith("VIOLATION  seed 3, after ")
    assert said[1].startswith("  lost     conversation team seq 1, posted at ")
    assert said[2] == '  likely   the store: in the conformance kit, "rows that were put are read" does not hold on it'
    assert said[3].endswith(f"faults -> 0, kept in {kept}")
    assert said[4].startswith(
        f"replay     python -m whisperkit.testing replay {kept} --stores test_command:open_replica "
    )
    assert len(said) == 5


def test_what_was_kept_is_replayed_as_the_last_line_says_and_holds_on_a_store_without_the_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["simulate", *SMALL, "--keep", str(tmp_path), *stores("open_replica")])
    command = capsys.readouterr().out.splitlines()[-1].partition(" (")[0].split()[4:]

    codes = [main(command), main(command[:2])]

    said = capsys.readouterr().out.splitlines()
    assert codes == [1, 0]
    assert [line.split()[0] for line in said] == ["VIOLATION", "lost", "held"]


def test_a_run_is_kept_as_the_shortest_list_of_decisions(tmp_path: Path) -> None:
    code = main(["simulate", *SMALL, "--keep", str(tmp_path), *stores("open_watchful")])

    (kept,) = tmp_path.glob("*.run")
    assert code == 1
    assert kept.name == "law-1-3.run"
    assert Plan.parse(kept.read_text()).decisions == ()


def test_a_violation_that_the_kit_knows_nothing_of_is_not_put_on_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["simulate", *SMALL, "--keep", str(tmp_path), *stores("open_without_inboxes")])

    said = capsys.readouterr().out
    assert "  likely   unknown: all laws of the conformance kit hold on this store\n" in said


def test_a_store_that_raises_what_it_may_not_is_told_by_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["simulate", *SMALL, "--keep", str(tmp_path), *stores("open_watchful")])

    assert "ends with Violation('law 1: half of a commit was there')\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["simulate", "--stores", "no_such_module:open"], "got no_such_module:open: No module named"),
        (["simulate", "--stores", "test_command:no_maker"], "got test_command:no_maker: module"),
        (["simulate", "--stores", "test_command"], "--stores takes module:maker, got test_command"),
        (["simulate", "--stores", ":"], "--stores takes module:maker, got :"),
        (["simulate", "--seed", "seven"], "invalid int value: 'seven'"),
        (["simulate", "--faults", "-3"], "a number from 0 on is needed, got -3"),
        (["simulate", "--messages", "few"], "a number from 0 on is needed, got few"),
        (["simulate", "--seconds", "0"], "a number of seconds above 0 is needed, got 0"),
        (["simulate", "--seconds", "long"], "a number of seconds above 0 is needed, got long"),
        (["simulate", "--keep", "no_such_folder"], "there is no folder no_such_folder"),
        (["replay", "no_such.run"], "No such file"),
        (["replay", "test_command.py"], "not a decision: "),
        ([], "required: command"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@asynccontextmanager
async def open_interrupted() -> AsyncGenerator[MemoryPartitions]:
    """A maker in whose middle somebody presses Ctrl-C."""
    raise KeyboardInterrupt
    yield MemoryPartitions()


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    assert main(["simulate", *SMALL, *stores("open_interrupted")]) == 130
