"""The word to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from examples.net.signals import STOP_SIGNALS, wait_for_stop

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_a_signal_ends_the_waiting_and_the_next_one_is_the_systems_again(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    waiting = asyncio.ensure_future(wait_for_stop())
    await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)

    assert await waiting is number
    assert signal.getsignal(signal.SIGTERM) == before


async def test_waiting_may_be_given_up() -> None:
    waiting = asyncio.ensure_future(wait_for_stop())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
