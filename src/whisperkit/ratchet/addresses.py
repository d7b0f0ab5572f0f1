"""Addresses inside first messages: 18 bytes for a service id and a device number.

Signal binds sender and recipient into the first messages of a session if both names are *service ids*, and
leaves them out otherwise. Users of this library always are; the rules are here whole because the wire has them.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from whisperkit.ids import DeviceId

__all__ = ["ADDRESS_BYTES", "address_of", "encode_address"]

ADDRESS_BYTES: Final = 18

_SERVICE_ID: Final = re.compile(r"(PNI:)?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})")


def encode_address(name: str, number: int) -> bytes | None:
    """A service id in its fixed-width form and a device number; `None` if the name is no service id.

    The letters of a UUID may have either case; ``PNI:`` may not.
    """
    match = _SERVICE_ID.fullmatch(name)
    if match is None:
        return None
    kind = b"\x01" if match[1] else b"\x00"
    return kind + uuid.UUID(match[2]).bytes + bytes([number])


def address_of(device: DeviceId) -> bytes:
    """The address of a device: an ACI and its number."""
    return b"\x00" + uuid.UUID(device.user).bytes + bytes([device.number])
