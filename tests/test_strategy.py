"""The numbers of the strategies are stored: they never change."""

from __future__ import annotations

from whisperkit.strategy import Strategy


def test_the_stored_numbers_never_change() -> None:
    assert {strategy.name: int(strategy) for strategy in Strategy} == {"SMALL": 1, "MID": 2, "MEGA": 3}


def test_only_mega_rows_are_pulled() -> None:
    assert [strategy.is_pushed for strategy in Strategy] == [True, True, False]
