"""The word to stop."""

from __future__ import annotations

import os
import signal

import anyio.lowlevel
import pytest

from examples.net.signals import STOP_SIGNALS, stop_signals

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_a_signal_is_heard_and_the_next_one_is_the_systems_again(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)

    with stop_signals() as stop:
        os.kill(os.getpid(), number)
        assert await stop is number
        assert signal.getsignal(signal.SIGTERM) == before


async def test_a_signal_that_comes_before_anybody_waits_is_not_lost() -> None:
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.lowlevel.checkpoint()

        assert await stop is signal.SIGTERM


async def test_outside_of_the_block_a_signal_is_the_systems() -> None:
    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL

    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
