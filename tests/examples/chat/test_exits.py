"""How a chat ends when whoever read its lines has gone, whichever task of it finds that out."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from examples.chat.exits import exit_code

def run():
    raise {error}

sys.exit(exit_code(run, "alice.1", Path(".")))
"""


def ends(error: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM.format(error=error)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "error",
    [
        "BrokenPipeError",
        "ExceptionGroup('tasks', [BrokenPipeError()])",
        "ExceptionGroup('tasks', [ExceptionGroup('inner', [BrokenPipeError()]), BrokenPipeError()])",
    ],
)
def test_nobody_reads_is_no_failure(error: str) -> None:
    ended = ends(error)

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "__import__('asyncio').CancelledError"])
def test_ctrl_c_has_its_code_also_where_something_was_ending_already(error: str) -> None:
    ended = ends(error)

    assert (ended.returncode, ended.stderr) == (130, "")


def test_what_goes_wrong_beside_it_is_told() -> None:
    ended = ends("ExceptionGroup('tasks', [BrokenPipeError(), ValueError('this, too')])")

    assert ended.returncode == 1
    assert "this, too" in ended.stderr
