"""Runs that once broke a promise: each is a list of decisions, kept for good, and has to end well.

To keep another one, put the ``.run`` file that the simulator wrote into this folder, with a remark on top that says
what it found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from whisperkit.testing.decisions import Plan
from whisperkit.testing.simulator import simulate

RUNS = sorted(Path(__file__).parent.glob("*.run"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_run_that_once_broke_a_promise_keeps_all_of_them(path: Path) -> None:
    outcome = simulate(Plan.parse(path.read_text()))

    assert outcome.violation is None
