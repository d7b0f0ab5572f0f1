"""This device's prekeys: published at first, refilled when few are left, renewed when it is time.

What is published is saved first, the frame itself under ``n/upload`` and its private halves in the same commit, and it
is repeated until it is answered. The server takes no number twice, so a repeat is harmless, and a crash or a lost
answer costs no keys. Signed prekeys and last resorts are renewed by the first upload after their week is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.session import Ask
from whisperkit.errors import ActionRequiredError
from whisperkit.ids import MessageId
from whisperkit.packing import reading
from whisperkit.ratchet import Device, PreKeyUpload, PublicPreKey
from whisperkit.sync import codec, frames

__all__ = ["ASK_MS", "ONE_TIME_KEYS", "REFILL_BELOW", "PreKeys"]

ONE_TIME_KEYS: Final = 50
REFILL_BELOW: Final = 20

# How often the server is asked how many are left: only it knows of those that were taken and not used. Somebody who
# takes them all weakens first messages until then.
ASK_MS: Final = 6 * 3_600_000

_STOCK: Final = b"n/stock"
_UPLOAD: Final = b"n/upload"


class PreKeys:
    """Keeps the server supplied.

    Args:
        records: This device's partition.
        ratchet: Its ratchet.
        ask: Asks the server.
        mint: Names requests.
        wall_ms: The clock.
    """

    def __init__(
        self,
        records: DeviceRecords,
        ratchet: Device,
        ask: Ask,
        *,
        mint: Callable[[], MessageId],
        wall_ms: Callable[[], int],
    ) -> None:
        self._records = records
        self._ratchet = ratchet
        self._ask = ask
        self._mint = mint
        self._wall_ms = wall_ms

    async def used(self, turn: Turn) -> None:
        """Note that somebody used a one-time key."""
        stock = await _stock(turn)
        if stock is not None:
            asked_at_ms, left = stock
            turn.put([(_STOCK, _packed(asked_at_ms, max(0, left - 1)))])

    async def publish(self) -> None:
        """Publish what was not answered yet, and what it is time for.

        Raises:
            TransportError: The server cannot be asked now.
            ActionRequiredError: It did not take them.
        """
        # The answer to what was due may say that more were taken than were used, and so may that to a repeat.
        for _ in range(3):
            upload = await self._records.run(self._next)
            if upload is None:
                return
            answer = await self._ask(upload.request, upload)
            if not isinstance(answer, frames.Published):
                raise ActionRequiredError("the server did not take the prekeys")
            await self._note(upload, answer)

    async def _next(self, turn: Turn) -> frames.Publish | None:
        """What to publish: what is saved already, or what is made now; `None` if it is not time."""
        saved = await turn.get(_UPLOAD)
        if saved is not None:
            return _read(saved)
        asked_at_ms, left = await _stock(turn) or (0, 0)
        # Also when the clock was put back: otherwise it would be a long time until it is where it was.
        is_time = not 0 <= self._wall_ms() - asked_at_ms < ASK_MS
        if left >= REFILL_BELOW and not is_time:
            return None
        one_time = max(0, ONE_TIME_KEYS - left)
        rows = await turn.load(self._ratchet.records_for_prekeys())
        made = self._ratchet.generate_prekeys(rows, wall_ms=self._wall_ms(), one_time=one_time)
        upload = _publish(self._mint(), made.upload)
        turn.save(made.save)
        turn.put([(_UPLOAD, codec.encode(upload))])
        return upload

    async def _note(self, upload: frames.Publish, answer: frames.Published) -> None:
        async def note(turn: Turn) -> None:
            saved = await turn.get(_UPLOAD)
            if saved is None or _read(saved).request != upload.request:
                return  # another process of this device was answered first
            rows = await turn.load(self._ratchet.records_for_published())
            left = max(answer.ec_count, answer.kyber_count)
            turn.save(self._ratchet.prekeys_published(rows, one_time_left=left, wall_ms=self._wall_ms()).save)
            turn.put([(_STOCK, _packed(self._wall_ms(), min(answer.ec_count, answer.kyber_count)))])
            turn.delete([_UPLOAD])

        await self._records.run(note)


async def _stock(turn: Turn) -> tuple[int, int] | None:
    """When the server was asked last, and how many should be left; `None` if it never was."""
    stored = await turn.get(_STOCK)
    return None if stored is None else (int.from_bytes(stored[:8], "big"), int.from_bytes(stored[8:], "big"))


def _packed(asked_at_ms: int, left: int) -> bytes:
    return asked_at_ms.to_bytes(8, "big") + left.to_bytes(4, "big")


def _read(saved: bytes) -> frames.Publish:
    with reading("prekeys to publish"):
        (upload,) = codec.decode(saved, direction=frames.Direction.TO_SERVER)
        if not isinstance(upload, frames.Publish):
            raise TypeError("it is another frame")
        return upload


def _publish(request: MessageId, upload: PreKeyUpload) -> frames.Publish:
    def signed(key: PublicPreKey) -> frames.SignedKey:
        return frames.SignedKey(key.number, key.public, key.signature)

    def kyber(key: PublicPreKey) -> frames.KyberKey:
        return frames.KyberKey(key.number, key.public, key.signature)

    return frames.Publish(
        request,
        signed(upload.signed),
        kyber(upload.last_resort),
        tuple(frames.OneTimeKey(key.number, key.public) for key in upload.one_time),
        tuple(kyber(key) for key in upload.one_time_kyber),
    )
