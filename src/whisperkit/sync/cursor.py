"""How far a device has come in its inbox: a number, the store's generation, and a tag that proves the way there.

The tag is a chain over the ids of all entries so far. A bare number, or a tag of the last entry alone, would
match again after the log lost its tail and grew another one; a chain never does.
"""

from __future__ import annotations

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final, NamedTuple

from whisperkit.errors import MalformedIdError
from whisperkit.ids import DeviceId, InboxSeq, MessageId

__all__ = ["CURSOR_CHARS", "TAG_BYTES", "Cursor", "first_tag", "next_tag", "relinked_tag"]

TAG_BYTES: Final = 8
CURSOR_CHARS: Final = 32
_LAYOUT = struct.Struct(">QQ8s")
_MAX = (1 << 63) - 1


class Cursor(NamedTuple):
    """A position in one inbox: all up to and including `seq` is there. Replaced whole, never field by field.

    Attributes:
        epoch: The store's generation, from 1; whoever restores a backup raises it.
        seq: The last entry, 0 before the first.
        tag: The chain up to it, `TAG_BYTES` bytes.
    """

    epoch: int
    seq: InboxSeq
    tag: bytes

    def text(self) -> str:
        """The opaque text form: `CURSOR_CHARS` characters of URL-safe base64."""
        return urlsafe_b64encode(_LAYOUT.pack(*self)).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the text form.

        Raises:
            MalformedIdError: It is not one. A cursor without an epoch is none: taken for "no epoch", it
                would match whatever log is there.
        """
        try:
            raw = text.encode("ascii")
            epoch, seq, tag = _LAYOUT.unpack(urlsafe_b64decode(raw))
        except (UnicodeEncodeError, binascii.Error, ValueError, struct.error):
            raise _malformed(text) from None
        # The decoder skips characters outside the alphabet; one position has one text form only.
        if not 1 <= epoch <= _MAX or seq > _MAX or urlsafe_b64encode(_LAYOUT.pack(epoch, seq, tag)) != raw:
            raise _malformed(text)
        return cls(epoch, InboxSeq(seq), tag)


# What has read nothing yet is copied, and not made anew: a tag takes two thirds of the time (measured).
_unfed: Final = blake2b(digest_size=TAG_BYTES).copy


def first_tag(device: DeviceId) -> bytes:
    """The tag before the first entry of a device's inbox: blake2b of its text form, 8 bytes."""
    return blake2b(device.encode(), digest_size=TAG_BYTES).digest()


def next_tag(tag: bytes, message_id: MessageId) -> bytes:
    """The tag after one more entry: blake2b of the tag so far and the message id, 8 bytes."""
    found = _unfed()
    found.update(tag + message_id)
    return found.digest()


def relinked_tag(tag: bytes, link: int) -> bytes:
    """The tag where an inbox begins again for a later link: blake2b of the tag so far and the link.

    Nothing was appended between the links, so without it a cursor of the earlier link would match, and the device
    would go on without what it missed. Shorter than what `next_tag` hashes, so it is no entry's tag.
    """
    return blake2b(tag + link.to_bytes(8, "big"), digest_size=TAG_BYTES).digest()


def _malformed(text: str) -> MalformedIdError:
    return MalformedIdError(kind="cursor", expected=f"{CURSOR_CHARS} characters", found=text[:CURSOR_CHARS])
