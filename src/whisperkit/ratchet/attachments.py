"""Attachments: encrypted in chunks on the device, so that a server stores them and knows nothing of them.

Theory of operation. The file is cut into chunks of `CHUNK_BYTES`; each is sealed with AES-256-GCM under the
attachment's own key, which is used for nothing else. The nonce of a chunk is its position, and whether it is
the last: a chunk that is altered, moved, doubled or taken from another file does not open, and neither does
a file that was cut at a chunk's end (STREAM, Hoang, Reyhanitabar, Rogaway and Vizar 2015). So each chunk can
be shown, played or written to disk as soon as it is there, and a transfer that broke off goes on at the
next chunk.

Key, digest and size make the pointer, which travels inside an encrypted message.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from whisperkit.errors import AttachmentError, UsageError
from whisperkit.ratchet.curve import RandomBytes

__all__ = [
    "CHUNK_BYTES",
    "MAX_ATTACHMENT_BYTES",
    "MAX_NAME_CHARS",
    "SEALED_CHUNK_BYTES",
    "AttachmentDecryptor",
    "AttachmentEncryptor",
    "AttachmentPointer",
    "sealed_size",
]

# Larger chunks cost memory and repeat more after a break; smaller ones cost more tags. 64 KiB lose 0.02 %.
CHUNK_BYTES: Final = 1 << 16
TAG_BYTES: Final = 16
SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES

# 2^32 chunks under one key stay far within what AES-GCM allows; the limit is what a pointer may make us fetch.
MAX_ATTACHMENT_BYTES: Final = 4 << 30

MAX_NAME_CHARS: Final = 255

_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32
_LAYOUT: Final = 1
# Position, three bytes of nothing, 1 for the last chunk: no two chunks of a file share a nonce.
_NONCE: Final = Struct(">Q3xB")


class AttachmentPointer(NamedTuple):
    """What opens an attachment: goes inside an encrypted message, beside the id under which a server has it.

    Attributes:
        key: 32 bytes. Never printed.
        digest: SHA-256 of the encrypted file.
        size: Of the file in bytes, before encryption.
        name: What the sender called it: to show, never to open as a path.
        media_type: Such as ``image/jpeg``, as the sender says.
    """

    key: bytes
    digest: bytes
    size: int
    name: str
    media_type: str

    def __repr__(self) -> str:
        return f"<AttachmentPointer to {self.size} bytes>"

    @property
    def sealed_size(self) -> int:
        """Size of the encrypted file in bytes."""
        return sealed_size(self.size)

    def encode(self) -> bytes:
        """Write it for the inside of a message."""
        packed = msgpack.packb([_LAYOUT, *self])
        assert packed is not None  # the stubs allow None, which packb never returns
        return packed

    @classmethod
    def decode(cls, data: bytes) -> AttachmentPointer:
        """Read what came inside a message.

        Raises:
            AttachmentError: It is no pointer, or points to more than `MAX_ATTACHMENT_BYTES`.
        """
        match _unpack(data):
            case [int(layout), bytes(key), bytes(digest), int(size), str(name), str(media_type)] if (
                layout == _LAYOUT
                and len(key) == _KEY_BYTES
                and len(digest) == _DIGEST_BYTES
                and 0 <= size <= MAX_ATTACHMENT_BYTES
                and max(len(name), len(media_type)) <= MAX_NAME_CHARS
            ):
                return cls(key, digest, size, name, media_type)
            case _:
                raise AttachmentError("a pointer to an attachment is not of its form")


def sealed_size(size: int) -> int:
    """How many bytes a file of `size` bytes has when encrypted."""
    return size + TAG_BYTES * _chunks(size)


class AttachmentEncryptor:
    """Encrypts a file in constant memory: `update` with its bytes, then `finalize`, then `pointer`.

    An upload that broke off goes on from the encrypted file. There is no way to begin an encryption in the
    middle: if the file had changed meanwhile, two texts would be sealed under one nonce.

    Args:
        random_bytes: Asked for 32 bytes, the key.
    """

    def __init__(self, *, random_bytes: RandomBytes) -> None:
        self._key = random_bytes(_KEY_BYTES)
        self._cipher = AESGCM(self._key)
        self._digest = sha256()
        self._pending = b""
        self._position = 0
        self._size = 0
        self._is_final = False

    def update(self, data: bytes) -> bytes:
        """Take in the next bytes, in pieces of any size.

        Returns:
            What of the encrypted file is ready: whole chunks, often nothing.

        Raises:
            UsageError: The file is finished, or larger than `MAX_ATTACHMENT_BYTES`.
        """
        self._check_open()
        self._size += len(data)
        if self._size > MAX_ATTACHMENT_BYTES:
            raise UsageError(f"an attachment has at most {MAX_ATTACHMENT_BYTES} bytes", code="usage.too-large")
        pending = self._pending + data
        start = 0
        out: list[bytes] = []
        # A whole chunk is held back until more comes: it may be the last one.
        while len(pending) - start > CHUNK_BYTES:
            out.append(self._seal(pending[start : start + CHUNK_BYTES], is_last=False))
            start += CHUNK_BYTES
        self._pending = pending[start:]
        return b"".join(out)

    def finalize(self) -> bytes:
        """Say that the file ends here.

        Returns:
            The rest of the encrypted file.
        """
        self._check_open()
        self._is_final = True
        return self._seal(self._pending, is_last=True)

    def pointer(self, *, name: str, media_type: str) -> AttachmentPointer:
        """What the receiver needs.

        Raises:
            UsageError: The file is not finished, or a text is too long.
        """
        if not self._is_final:
            raise UsageError("finalize comes before pointer")
        if max(len(name), len(media_type)) > MAX_NAME_CHARS:
            raise UsageError(f"name and media type have at most {MAX_NAME_CHARS} characters", code="usage.too-large")
        return AttachmentPointer(self._key, self._digest.digest(), self._size, name, media_type)

    def _seal(self, chunk: bytes, *, is_last: bool) -> bytes:
        sealed = self._cipher.encrypt(_NONCE.pack(self._position, is_last), chunk, None)
        self._position += 1
        self._digest.update(sealed)
        return sealed

    def _check_open(self) -> None:
        if self._is_final:
            raise UsageError("the attachment is finished")


class AttachmentDecryptor:
    """Decrypts a file in constant memory: `update` with its bytes, then `finalize`.

    What `update` returns is authentic and in its place, but only `finalize` says that nothing is missing.

    Args:
        pointer: What came inside the message.
        chunk: Where to begin, to go on after a break: after `position` chunks were written, fetch from
            `sealed_offset` and write from `position * CHUNK_BYTES`.
    """

    def __init__(self, pointer: AttachmentPointer, *, chunk: int = 0) -> None:
        self._chunks = _chunks(pointer.size)
        if not 0 <= chunk <= self._chunks:
            raise UsageError(f"the attachment has {self._chunks} chunks, asked for was chunk {chunk}")
        self._pointer = pointer
        self._cipher = AESGCM(pointer.key)
        # The digest is of the whole file, so it says something only if it was read from the start.
        self._digest = sha256() if chunk == 0 else None
        self._pending = b""
        self._position = chunk

    @property
    def position(self) -> int:
        """How many chunks are decrypted."""
        return self._position

    @property
    def sealed_offset(self) -> int:
        """Where in the encrypted file the next chunk begins."""
        return self._position * SEALED_CHUNK_BYTES

    def update(self, data: bytes) -> bytes:
        """Take in the next bytes of the encrypted file, in pieces of any size.

        Returns:
            What of the file is ready: whole chunks, often nothing.

        Raises:
            AttachmentError: A chunk is altered or not in its place, or there is more than there should be.
        """
        pending = self._pending + data
        start = 0
        out: list[bytes] = []
        while self._position < self._chunks and len(pending) - start >= self._sealed_bytes():
            end = start + self._sealed_bytes()
            out.append(self._open(pending[start:end]))
            start = end
        if self._position == self._chunks and len(pending) > start:
            raise AttachmentError("an attachment is longer than its pointer says")
        self._pending = pending[start:]
        return b"".join(out)

    def finalize(self) -> None:
        """Check that nothing is missing.

        Raises:
            AttachmentError: It is cut short, or is not the file that the pointer names.
        """
        if self._position < self._chunks:
            raise AttachmentError(f"an attachment is cut short: {self._position} of {self._chunks} chunks came")
        if self._digest is not None and not hmac.compare_digest(self._digest.digest(), self._pointer.digest):
            raise AttachmentError("an attachment is not the one that its pointer names")

    def _sealed_bytes(self) -> int:
        if self._position < self._chunks - 1:
            return SEALED_CHUNK_BYTES
        return self._pointer.size - self._position * CHUNK_BYTES + TAG_BYTES

    def _open(self, sealed: bytes) -> bytes:
        nonce = _NONCE.pack(self._position, self._position == self._chunks - 1)
        try:
            chunk = self._cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise AttachmentError(f"chunk {self._position} of an attachment is altered or misplaced") from None
        if self._digest is not None:
            self._digest.update(sealed)
        self._position += 1
        return chunk


def _chunks(size: int) -> int:
    # An empty file has one chunk, an empty one, so that its end is authenticated too.
    return max(1, -(-size // CHUNK_BYTES))


def _unpack(data: bytes) -> object:
    try:
        value: object = msgpack.unpackb(data)
    except (ValueError, TypeError):
        return None
    return value
