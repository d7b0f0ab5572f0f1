"""What measures the imports: that it reads the interpreter's report, and that it ends as it promises."""

from __future__ import annotations

import pytest

from tests.bench.imports import main, own_times_us

REPORT = """\
import time: self [us] | cumulative | imported package
import time:       120 |        120 |   errno
import time:      3300 |       3420 | whisperkit
some warning | of | somebody
"""


def test_each_module_is_told_with_its_own_time() -> None:
    assert own_times_us(REPORT) == {"errno": 120, "whisperkit": 3300}


def test_a_limit_that_nothing_can_miss_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    ended = main(["--runs", "1", "--limit-ms", "1e9"])

    assert ended == 0
    assert "within the limit" in capsys.readouterr().out


def test_a_limit_that_nothing_can_keep_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    ended = main(["--runs", "1", "--limit-ms", "0"])

    assert ended == 1
    assert "over the limit" in capsys.readouterr().out


def test_the_parts_of_an_import_are_the_modules_that_it_loads(capsys: pytest.CaptureFixture[str]) -> None:
    ended = main(["--runs", "1", "--parts", "whisperkit.presence"])

    assert ended == 0
    assert "  whisperkit.presence" in capsys.readouterr().out
