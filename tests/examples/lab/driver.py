"""A page without a browser: it speaks with the lab as the page does, and keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from examples.lab.lab import Lab, open_lab
from examples.lab.site import Site

__all__ = ["PATIENCE_S", "Driver", "Json", "driving"]

# For tests that fail: nothing waits that long in one that passes.
PATIENCE_S: Final = 60.0
Json = dict[str, Any]  # whatever JSON holds


class Driver:
    """One tab.

    Attributes:
        told: All that it was told, in order.
        rows: What each phone shows, by id.
        port: Of the lab.
        cookie: What the lab gave.
        closed: The code with which the lab closed it.
    """

    def __init__(self, port: int, cookie: str) -> None:
        self.port = port
        self.cookie = cookie
        self.told: list[Json] = []
        self.rows: tuple[dict[str, Json], dict[str, Json]] = ({}, {})
        self.closed: int | None = None
        self._parts: dict[str, Json] = {}
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    @classmethod
    async def of(cls, port: int) -> Driver:
        """Open the page of a lab."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/")
        driver = cls(port, answer.headers["set-cookie"].partition(";")[0])
        await driver.open()
        return driver

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie, "Origin": self.origin}

    async def open(self) -> None:
        """Connect, and wait until all is there that a new page gets, or the lab closes."""
        self._socket = await connect(
            f"ws://127.0.0.1:{self.port}/lab",
            additional_headers=self.headers,
            max_size=None,
            compression=None,
            proxy=None,
        )
        self._reading = asyncio.create_task(self._read(self._socket))
        await self.until(lambda: "server" in self._parts or self.closed is not None)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            await self._reading

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                async with self._news:
                    self._take(json.loads(text))
                    self._news.notify_all()
        async with self._news:
            self.closed = socket.close_code
            self._news.notify_all()

    def _take(self, told: Json) -> None:
        self.told.append(told)
        match told:
            case {"kind": "message", "phone": int(phone)}:
                self.rows[phone][told["id"]] = told
            case {"kind": "gone", "phone": int(phone)}:
                self.rows[phone].pop(told["id"], None)
            case {"kind": "empty", "phone": int(phone)}:
                self.rows[phone].clear()
            case {"kind": "history", "phone": int(phone)}:
                self.rows[phone].update({row["id"]: row for row in told["messages"]})
            case {"kind": "phone", "phone": int(phone)}:
                self._parts[f"phone {phone}"] = told
            case _:
                self._parts[told["kind"]] = told

    # ---- what it was told ----

    def part(self, kind: str) -> Json:
        """The last of its kind that was told."""
        return self._parts[kind]

    def phone(self, number: int) -> Json:
        return self._parts[f"phone {number}"]

    @property
    def server(self) -> Json:
        return self._parts["server"]

    @property
    def counter(self) -> tuple[int, int, int]:
        """Acknowledged, lost, doubled."""
        acknowledged, lost, doubled = self.server["counter"].values()
        return acknowledged, lost, doubled

    def shown(self, phone: int) -> list[Json]:
        """The rows of a phone, in order."""
        return sorted(self.rows[phone].values(), key=lambda row: row["order"])

    def texts(self, phone: int, *marks: str) -> list[str]:
        """What people wrote, as a phone shows it; with these marks only, if there are any."""
        return [
            row["text"] for row in self.shown(phone) if row["mark"] != "notice" and (not marks or row["mark"] in marks)
        ]

    def row(self, phone: int, text: str) -> Json:
        """The row that says something."""
        return next(row for row in self.shown(phone) if row["text"] == text)

    def has(self, phone: int, text: str, *marks: str) -> bool:
        """Whether a phone shows a text, with one of these marks."""
        return text in self.texts(phone, *marks)

    def frames(self, **wanted: object) -> list[Json]:
        """What was told of frames."""
        frames = [told for told in self.told if told["kind"] == "frame"]
        return [one for one in frames if all(one[key] == value for key, value in wanted.items())]

    def said(self) -> list[str]:
        return [told["text"] for told in self.told if told["kind"] == "said"]

    # ---- what it does ----

    async def do(self, what: str, /, **more: object) -> None:
        await self.send_text(json.dumps({"do": what, **more}))

    async def send_text(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send(text)

    async def send(self, phone: int, *texts: str) -> None:
        for text in texts:
            await self.do("send", phone=phone, text=text)

    async def set(self, **buttons: object) -> None:
        for what, to in buttons.items():
            await self.do("set", what=what, to=to)
            await self.until(partial(self._is_set, what, to))

    def _is_set(self, what: str, to: object) -> bool:
        return bool(self.part("controls")[what] == to)

    async def until(self, holds: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
        """Wait until something holds of what was told."""
        try:
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"what was waited for did not come:\n{self._story()}") from None

    def _story(self) -> str:
        """What can be seen of a lab in which something did not come."""
        shown = [f"{phone} {row['mark']} {row['text'] or row['file']}" for phone in (0, 1) for row in self.shown(phone)]
        frames = [
            f"{one['at_ms']} {one['phone']} {one['way']} {one['name']} {one['fate']}" for one in self.frames()[-60:]
        ]
        parts = [f"{kind} {part}"[:600] for kind, part in self._parts.items() if kind != "frame"]
        return "\n".join([*shown, *parts, *frames])

    async def until_all_is_well(self, phone: int, text: str) -> None:
        """Wait until both have all that was written, that last, and the numbers know it."""
        await self.until(lambda: self.has(phone, text, "delivered", "read"))
        await self.until(lambda: self.counter[0] == len([row for row in self._written() if row["mark"] != "failed"]))

    def _written(self) -> list[Json]:
        return [row for phone in (0, 1) for row in self.shown(phone) if row["mine"] and row["mark"] != "notice"]


@asynccontextmanager
async def driving(*, seed: int = 1, lab_type: type[Lab] = Lab) -> AsyncGenerator[tuple[Driver, Lab]]:
    """A lab with a page while the block runs, in which frames take no time."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:  # a short one: the path of a socket is
        async with open_lab(Path(folder), seed=seed, speed=3, lab_type=lab_type) as lab:
            site = Site(lab)
            driver = await Driver.of(await site.listen(0))
            try:
                yield driver, lab
            finally:
                await driver.close()
                await site.close()
