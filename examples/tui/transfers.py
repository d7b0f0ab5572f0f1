"""Files on their way, as the screen shows them: one moves at a time, each can wait and go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import attrs

from examples.chat.lines import reason
from examples.device import HttpBlobs
from examples.device_outgoing import OutgoingFile, OutgoingFiles
from examples.tui.feed import Feed, Sending
from whisperkit.errors import TransportError, WhisperError
from whisperkit.ids import ConversationId

__all__ = ["Transfers"]

# Over how long a rate is told.
_RATE_MS: Final = 500


@attrs.define
class _Transfer:
    file: OutgoingFile
    moved: int | None = None
    rate: float = 0.0
    is_paused: bool = False
    problem: str = ""
    measured_at_ms: int = 0
    measured: int = 0


class Transfers:
    """Carries files.

    Args:
        files: The list of them.
        blobs: What carries, and says how much has moved.
        feed: Puts them in words.
        wall_ms: The clock.
        changed: Told when something is to be drawn anew.
    """

    def __init__(
        self,
        files: OutgoingFiles,
        blobs: HttpBlobs,
        *,
        feed: Feed,
        wall_ms: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._feed = feed
        self._wall_ms = wall_ms
        self._changed = changed
        self._transfers: dict[str, _Transfer] = {}
        self._encrypting: dict[str, Sending] = {}
        self._moving: tuple[str, asyncio.Task[None]] | None = None
        self._is_stopped = False

    async def begin(self) -> None:
        """Go on with what was left on its way."""
        for file in await self._files.load():
            self._transfers[file.number] = _Transfer(file)
        self.go_on()

    async def add(self, conv: ConversationId, path: Path, caption: str) -> None:
        """Encrypt a file and carry it."""
        now = self._wall_ms()
        label = f"{len(self._encrypting)} {path}"
        words = self._feed.file_name_words(path.name, (await anyio.Path(path).stat()).st_size)
        self._encrypting[label] = Sending(f"{conv} {label}", "you", self._feed.clock(now), words)
        self._changed()
        try:
            file = await self._files.add(conv, path, caption=caption, at_ms=now)
        finally:
            del self._encrypting[label]
            self._changed()
        self._transfers[file.number] = _Transfer(file, moved=0)
        self.go_on()

    def shown_in(self, conv: ConversationId) -> list[Sending]:
        """What is on its way to a conversation."""
        carried = [self._item(one) for one in self._transfers.values() if one.file.conv == conv]
        return carried + [one for one in self._encrypting.values() if one.number.startswith(f"{conv} ")]

    def _item(self, one: _Transfer) -> Sending:
        size = max(1, one.file.attachment.pointer.sealed_size)
        return Sending(
            one.file.number,
            "you",
            self._feed.clock(one.file.at_ms),
            self._feed.file_words(one.file.attachment),
            part=min(1.0, (one.moved or 0) / size),
            rate=one.rate,
            is_paused=one.is_paused,
            problem=one.problem,
        )

    def pause_or_go_on(self, number: str) -> None:
        """Let a file wait, or go on."""
        one = self._transfers.get(number)
        if one is None:
            return
        one.is_paused = not (one.is_paused or one.problem)
        one.problem, one.rate = "", 0.0
        if one.is_paused and self._moving is not None and self._moving[0] == number:
            self._moving[1].cancel()
        self._changed()
        self.go_on()

    async def give_up(self, number: str) -> None:
        """Do not send a file after all."""
        one = self._transfers.pop(number, None)
        if one is None:
            return
        if self._moving is not None and self._moving[0] == number:
            self._moving[1].cancel()
        await self._files.drop(one.file)
        self._changed()

    def connected(self) -> None:
        """There is a connection: what failed for want of one goes on."""
        for one in self._transfers.values():
            one.problem = ""
        self.go_on()

    def go_on(self) -> None:
        """Carry the first that does not wait, unless one is being carried."""
        if self._moving is not None or self._is_stopped:
            return
        ready = [one for one in self._transfers.values() if not (one.is_paused or one.problem)]
        if ready:
            self._moving = ready[0].file.number, asyncio.create_task(self._carry(ready[0]))

    def stop(self) -> None:
        """Stop; what is not there yet goes on the next time."""
        self._is_stopped = True
        if self._moving is not None:
            self._moving[1].cancel()

    async def _carry(self, one: _Transfer) -> None:
        one.measured_at_ms, one.measured = self._wall_ms(), one.moved or 0
        self._blobs.moved = lambda count: self._note(one, count)
        try:
            await self._files.carry(one.file)
            self._transfers.pop(one.file.number, None)
        except TransportError:
            one.problem = "no connection"
        except (WhisperError, OSError) as error:
            one.problem = reason(error)
        except asyncio.CancelledError:
            one.rate = 0.0
        finally:
            self._moving = None
            self._changed()
        self.go_on()

    def _note(self, one: _Transfer, count: int) -> None:
        now = self._wall_ms()
        one.moved = count
        if now - one.measured_at_ms >= _RATE_MS:
            one.rate = max(0.0, (count - one.measured) * 1_000 / (now - one.measured_at_ms))
            one.measured_at_ms, one.measured = now, count
        self._changed()
