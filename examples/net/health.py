"""`/healthz`: the process serves. `/readyz`: it should be sent people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from examples.net.http import Request, Response, Route, json_response

__all__ = ["Health"]

log = logging.getLogger("examples.net.health")

# Both are to answer within a second, whatever hangs behind them.
_PATIENCE_S: Final = 0.8


class Health:
    """Answers whoever decides where people are sent.

    Args:
        checks: Named calls that raise, or do not return, while something needed is away.
        patience_s: For how long a check is waited for.
    """

    def __init__(
        self, checks: Mapping[str, Callable[[], Awaitable[object]]] | None = None, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self._checks = dict(checks or {})
        self._patience_s = patience_s
        self._is_draining = False

    def drain(self) -> None:
        """Be ready no more."""
        self._is_draining = True

    @property
    def routes(self) -> list[Route]:
        """``GET /healthz`` and ``GET /readyz``."""
        return [Route("GET", "/healthz", self._healthz), Route("GET", "/readyz", self._readyz)]

    async def _healthz(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        if self._is_draining:
            return json_response({"status": "draining"}, 503)
        found = await asyncio.gather(*(self._is_there(name) for name in self._checks))
        away = [name for name, is_there in zip(self._checks, found, strict=True) if not is_there]
        return json_response({"status": "away", "away": away}, 503) if away else json_response({"status": "ok"})

    async def _is_there(self, name: str) -> bool:
        try:
            await asyncio.wait_for(_call(self._checks[name]), self._patience_s)
        except Exception:
            log.warning("not ready", extra={"needed": name}, exc_info=True)
            return False
        return True


async def _call(check: Callable[[], Awaitable[object]]) -> None:
    await check()
