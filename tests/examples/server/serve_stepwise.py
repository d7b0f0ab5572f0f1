"""The reference server on a store that commits to one partition at a time, as on Cassandra: `serve` otherwise.

Usage: serve_stepwise.py, with settings in the environment.
"""

from __future__ import annotations

import asyncio
import os

from examples.config import load_config
from examples.logs import set_up_logging
from examples.net.signals import stop_signals
from examples.server.app import open_server
from whisperkit.testing import Stepwise


async def main() -> None:
    config = load_config(None, environ=os.environ)
    set_up_logging()
    with stop_signals() as stop:
        async with open_server(config, wrap=Stepwise) as server:
            print(f"listening on ws://{server.host}:{server.port} (stepwise)", flush=True)
            await stop


asyncio.run(main())
