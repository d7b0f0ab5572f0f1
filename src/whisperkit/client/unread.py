"""Messages that could not be read: who was asked for them, and how often a device may be asked anew.

Each has a row ``w/`` with its id and its sender's device, so that all that one device owes can be asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from whisperkit.client.content import AskAgain, ResendRequest, encode_content
from whisperkit.client.drafts import DraftKind, put_draft
from whisperkit.client.records import Turn
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.partitions import prefix

__all__ = ["Unread"]

_WAITING: Final = prefix(b"w/")
_RENEWED: Final = b"n/renewed/"
# A server that damages messages makes the two sides open new sessions, which uses up prekeys: not more often than this.
RENEW_EVERY_MS: Final = 3_600_000
# What a device that lost its sessions is asked for at once; the rest is asked for as it is missed again.
MAX_ASKED: Final = 256


class Unread:
    """Keeps the list, and writes the asides that ask.

    Args:
        mint: Makes message ids for asides.
        wall_ms: The clock.
    """

    def __init__(self, *, mint: Callable[[], MessageId], wall_ms: Callable[[], int]) -> None:
        self._mint = mint
        self._wall_ms = wall_ms

    async def note(
        self, turn: Turn, conv: ConversationId, message_id: MessageId, sender: DeviceId, *, is_broken: bool
    ) -> None:
        """Write a message down and ask its sender for it.

        Args:
            turn: Takes the rows.
            conv: Where it came.
            message_id: Which one.
            sender: The device to ask.
            is_broken: The session with it may be broken: ask in a new one.
        """
        turn.put([(_key(message_id, sender), conv.encode())])
        await self._ask(turn, conv, message_id, sender, is_fresh=is_broken and await self.may_renew(turn, sender))

    def found(self, turn: Turn, message_id: MessageId, sender: DeviceId) -> None:
        """A message has come after all."""
        turn.delete([_key(message_id, sender)])

    async def ask_all(self, turn: Turn, sender: DeviceId) -> None:
        """Ask a device for all that it owes."""
        asked = 0
        for key, conv in (await turn.load([_WAITING])).copy().items():
            if key.startswith(_WAITING.start) and key[18:] == sender.encode() and asked < MAX_ASKED:
                asked += 1
                await self._ask(turn, ConversationId(conv.decode()), MessageId(key[2:18]), sender, is_fresh=False)

    async def invite(self, turn: Turn, device: DeviceId) -> None:
        """Tell a device, in a new session, to ask again: what it said could not be read."""
        if await self.may_renew(turn, device):
            content = encode_content(AskAgain())
            await put_draft(turn, DraftKind.ASIDE, self._mint(), to=device, content=content, is_fresh=True)

    async def may_renew(self, turn: Turn, device: DeviceId) -> bool:
        """Whether it is time for a new session with a device; it counts as opened."""
        key, now = _RENEWED + device.encode(), self._wall_ms()
        stored = await turn.get(key)
        if stored is not None and now - int.from_bytes(stored, "big") < RENEW_EVERY_MS:
            return False
        turn.put([(key, now.to_bytes(8, "big"))])
        return True

    async def _ask(
        self, turn: Turn, conv: ConversationId, message_id: MessageId, sender: DeviceId, *, is_fresh: bool
    ) -> None:
        content = encode_content(ResendRequest(conv, message_id))
        await put_draft(turn, DraftKind.ASIDE, self._mint(), to=sender, content=content, is_fresh=is_fresh)


def _key(message_id: MessageId, sender: DeviceId) -> bytes:
    return b"w/" + message_id + sender.encode()
