"""A thousand chats in which things go wrong: nothing acknowledged is lost, nothing applied twice, order kept.

Each seed makes up a run of its own (`whisperkit.testing.decisions`): gateways that crash and stand still, a store that
fails on either way, wires that lose, devices that die. All other promises of the ledger are looked at as well. A run
that breaks one is printed whole: kept in a file, it can be replayed.
"""

from __future__ import annotations

import pytest

from whisperkit.testing.decisions import generate
from whisperkit.testing.simulator import simulate

SEEDS = 1_000
BATCH = 50


@pytest.mark.no_cover  # it would take twice as long, and tests of single modules cover
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_what_was_promised_holds_whatever_goes_wrong(first: int) -> None:
    broken: dict[int, str] = {}
    acknowledged = 0

    for seed in range(first, first + BATCH):
        # One half commits everything at once, the other one partition at a time.
        outcome = simulate(generate(seed, messages=8, over_s=12.0, spans=seed % 2 == 0))
        acknowledged += outcome.acknowledged
        if outcome.violation is not None:
            broken[seed] = f"{outcome.violation}\n{outcome.plan.dump()}"

    assert broken == {}
    assert acknowledged > 3 * BATCH, "the chats have to be lively, or the promises are cheap"
