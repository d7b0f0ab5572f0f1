"""The authenticator: MACs over the header and the ciphertext, with keys chained over all epochs.

ML-KEM alone would agree with anybody. These MACs bind each epoch to the secrets before it, back to the
handshake, so that whoever slips in keys of their own is noticed before one of them is used.

Spec:
    ML-KEM Braid rev. 1, "The ML-KEM Braid Protocol", its authenticator.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from whisperkit.errors import AuthenticationError
from whisperkit.ratchet.prepared_hmac import hkdf, hmac_sha256
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr.derivation import LABEL, EpochSecret

__all__ = ["MAC_BYTES", "Authenticator", "ciphertext_mac", "first", "header_mac", "updated", "verify"]

MAC_BYTES: Final = 32


class Authenticator(NamedTuple):
    """The keys of the MACs.

    Attributes:
        root_key: For the next update, 32 bytes.
        mac_key: 32 bytes.
    """

    root_key: bytes
    mac_key: bytes

    def __repr__(self) -> str:
        return redacted(self)


def first(auth_key: bytes) -> Authenticator:
    """The authenticator after the handshake."""
    return _derive(bytes(32), 1, auth_key)


def updated(authenticator: Authenticator, epoch: int, secret: EpochSecret) -> Authenticator:
    """Mix in the secret of an epoch: after the MAC of its header, before the MAC of its ciphertext."""
    return _derive(authenticator.root_key, epoch, secret)


def header_mac(authenticator: Authenticator, epoch: int, header: bytes) -> bytes:
    """The MAC of a header of 64 bytes."""
    return hmac_sha256(authenticator.mac_key, LABEL + b"ekheader" + epoch.to_bytes(8, "big") + header)


def ciphertext_mac(authenticator: Authenticator, epoch: int, ciphertext: bytes) -> bytes:
    """The MAC of ``ct1 || ct2``, 1,088 bytes."""
    return hmac_sha256(authenticator.mac_key, LABEL + b"ciphertext" + epoch.to_bytes(8, "big") + ciphertext)


def verify(what: str, expected: bytes, found: bytes) -> None:
    """Compare two MACs.

    Raises:
        AuthenticationError: They differ.
    """
    if not hmac.compare_digest(expected, found):
        raise AuthenticationError(f"the MAC of a post-quantum {what} does not fit")


def _derive(root_key: bytes, epoch: int, key: bytes) -> Authenticator:
    out = hkdf(root_key + key, LABEL + b"Authenticator Update" + epoch.to_bytes(8, "big"), 64)
    return Authenticator(out[:32], out[32:])
