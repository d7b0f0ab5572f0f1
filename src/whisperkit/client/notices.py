"""What a person has to be told about devices, and whether they were.

A notice has a row ``e/`` from the commit that made it until somebody says that the person has seen it: so a crash in
between loses none, and none is made twice. There is one at most of each kind for a device; a later one takes the
place of one that nobody has seen.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from whisperkit.client.records import Turn
from whisperkit.ids import DeviceId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import prefix

__all__ = ["NOTICES", "DeviceLinked", "IdentityChanged", "Notice", "notices_in", "put_notice", "take_notice"]


class DeviceLinked(NamedTuple):
    """Somebody has a device that they did not have before: it reads what is written to them from now on.

    Of this device's own user, it reads along what they write, too. It may be theirs, or of somebody who got into
    their account.

    Attributes:
        device: Which one.
        was_verified: Whether a person had compared the safety numbers of all devices that they had before.
        identity_key: Its identity key, 33 bytes.
    """

    device: DeviceId
    was_verified: bool
    identity_key: bytes


class IdentityChanged(NamedTuple):
    """A device has another identity key than before.

    Attributes:
        device: Which one.
        was_verified: Whether a person had compared the old one: then nothing is sent until they choose.
        identity_key: The other key, 33 bytes: what `Client.accept_identity` takes.
    """

    device: DeviceId
    was_verified: bool
    identity_key: bytes


Notice: TypeAlias = DeviceLinked | IdentityChanged

NOTICES: Final = prefix(b"e/")
_NUMBER: Final = b"n/notice"
_KINDS: Final[dict[bytes, type[DeviceLinked | IdentityChanged]]] = {b"d": DeviceLinked, b"i": IdentityChanged}


async def put_notice(turn: Turn, notice: Notice) -> None:
    """Let a person be told, after all that they were told before."""
    number = int.from_bytes(await turn.get(_NUMBER) or b"", "big") + 1
    value = pack(number, notice.was_verified, notice.identity_key)
    turn.put([(_NUMBER, number.to_bytes(8, "big")), (_key(notice), value)])


async def notices_in(turn: Turn) -> list[Notice]:
    """All that nobody has seen yet, in order."""
    rows = await turn.load([NOTICES])
    found = [_read(key, value) for key, value in rows.items() if key.startswith(NOTICES.start)]
    return [notice for _, notice in sorted(found, key=lambda one: one[0])]


async def take_notice(turn: Turn, notice: Notice) -> None:
    """A person has seen a notice; one that took its place since stays."""
    value = await turn.get(_key(notice))
    if value is not None and _read(_key(notice), value)[1] == notice:
        turn.delete([_key(notice)])


def _key(notice: Notice) -> bytes:
    kind = next(kind for kind, one in _KINDS.items() if isinstance(notice, one))
    return NOTICES.start + kind + notice.device.encode()


def _read(key: bytes, value: bytes) -> tuple[int, Notice]:
    number, was_verified, identity_key = unpack(value, kind="notice", shape=(int, bool, bytes))
    with reading("notice"):
        device = DeviceId.parse(key[3:].decode())
        return number, _KINDS[key[2:3]](device, was_verified, identity_key)
