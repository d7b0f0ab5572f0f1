"""How the parts of a sealed store are sealed and named; see `examples.adapters.sealed` for what that is good for."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NewType

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from examples.adapters.sealed_lock import KEY_BYTES, NONCE_BYTES, DataKey, RandomBytes
from whisperkit.errors import CorruptStateError
from whisperkit.partitions import Head, Partition, Row

__all__ = ["Label", "Nonce", "Sealer", "altered", "nonce_of"]

_LABEL_BYTES: Final = 16
_DIGEST_BYTES: Final = 32

Label = NewType("Label", bytes)
"""What a row is called in the inner store."""

Nonce = NewType("Nonce", bytes)
"""24 random bytes that name one writing of a row."""


def nonce_of(value: bytes) -> Nonce:
    """Which writing a sealed value is of."""
    return Nonce(value[:NONCE_BYTES])


def altered(kind: str, reason: str) -> CorruptStateError:
    """Say that somebody else has written there."""
    return CorruptStateError(kind=f"sealed {kind}", reason=reason)


class Sealer:
    """Names and seals, all under keys derived from the data key.

    Args:
        data_key: From which they are derived.
        random_bytes: Where nonces come from.
    """

    def __init__(self, data_key: DataKey, random_bytes: RandomBytes) -> None:
        self._name_key = _derived(data_key, b"name")
        self._label_key = _derived(data_key, b"label")
        self._seal_key = _derived(data_key, b"seal")
        self._digest_key = _derived(data_key, b"digest")
        self._random_bytes = random_bytes

    def name(self, partition: Partition) -> Partition:
        """What a partition is called in the inner store."""
        return Partition(f"sealed/{_hash(self._name_key, partition.encode()).hex()}")

    def label(self, name: Partition, key: bytes) -> Label:
        """What a row is called in it."""
        return Label(b"r" + _hash(self._label_key, name.encode() + key))

    def mark(self, label: Label, nonce: Nonce) -> int:
        """What one writing of a row adds to the digest."""
        return int.from_bytes(blake2b(label + nonce, key=self._digest_key, digest_size=_DIGEST_BYTES).digest(), "big")

    def seal_head(self, name: Partition, version: int, state: bytes, digest: int) -> Head:
        """A head for the inner store."""
        plain = digest.to_bytes(_DIGEST_BYTES, "big") + state
        return Head(version, self._seal(plain, _bound_to_head(name, version), self._nonce()))

    def open_head(self, name: Partition, head: Head) -> tuple[Head, int]:
        """The head, and the digest of the rows that belong to it."""
        plain = self._open(head.state, _bound_to_head(name, head.version), "head")
        return Head(head.version, plain[_DIGEST_BYTES:]), int.from_bytes(plain[:_DIGEST_BYTES], "big")

    def seal_row(self, name: Partition, row: Row) -> tuple[Row, Label, Nonce]:
        """A row for the inner store, its label, and the name of this writing of it."""
        label, nonce = self.label(name, row.key), self._nonce()
        plain = bytes([len(row.key)]) + row.key + row.value
        return Row(label, self._seal(plain, name.encode() + label, nonce)), label, nonce

    def open_row(self, name: Partition, sealed: Row) -> tuple[Row, Label, Nonce]:
        """The same, backwards."""
        plain = self._open(sealed.value, name.encode() + sealed.key, "row")
        end = 1 + plain[0]
        return Row(plain[1:end], plain[end:]), Label(sealed.key), nonce_of(sealed.value)

    def _nonce(self) -> Nonce:
        return Nonce(self._random_bytes(NONCE_BYTES))

    def _seal(self, plain: bytes, bound: bytes, nonce: Nonce) -> bytes:
        return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, bound, nonce, self._seal_key)

    def _open(self, data: bytes, bound: bytes, kind: str) -> bytes:
        nonce, sealed = data[:NONCE_BYTES], data[NONCE_BYTES:]
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, bound, nonce, self._seal_key)
        except (CryptoError, ValueError) as error:  # too short is a ValueError
            raise altered(kind, "it is not authentic") from error


def _derived(data_key: DataKey, purpose: bytes) -> bytes:
    return blake2b(key=data_key, person=purpose, digest_size=KEY_BYTES).digest()


def _hash(key: bytes, data: bytes) -> bytes:
    return blake2b(data, key=key, digest_size=_LABEL_BYTES).digest()


def _bound_to_head(name: Partition, version: int) -> bytes:
    # A name is followed by "r" and 16 bytes where a row is bound, so the two cannot be taken for each other.
    return name.encode() + b"h" + version.to_bytes(8, "big")
