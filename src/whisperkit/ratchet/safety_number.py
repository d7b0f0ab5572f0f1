"""Safety numbers: what two people compare to know that nobody sits between their devices.

Spec:
    Nothing is published for them; ``docs/explanation/security.md``, "Keys and signatures".
"""

from __future__ import annotations

import hmac
from hashlib import sha512
from typing import Final, NamedTuple

from whisperkit.errors import InvalidMessageError, UnsupportedVersionError
from whisperkit.ids import DeviceId
from whisperkit.ratchet.curve import PublicKey
from whisperkit.ratchet.protobuf import BYTES, UINT32, Fields, read, write

__all__ = ["FINGERPRINT_ITERATIONS", "FINGERPRINT_VERSION", "SafetyNumber", "fingerprint"]

# What phones use: slow enough that a look-alike of a chosen number costs an attacker 5,200 times a plain hash.
FINGERPRINT_ITERATIONS: Final = 5_200
FINGERPRINT_VERSION: Final = 2

_VERSION: Final = b"\x00\x00"  # of the hash, whatever version the number is shown under
_SCANNED_BYTES: Final = 32
_GROUPS: Final = 6
_GROUP_BYTES: Final = 5
_ENVELOPE: Final = {1: UINT32, 2: BYTES, 3: BYTES}
_HALF: Final = {1: BYTES}


def fingerprint(name: bytes, identity_key: PublicKey, *, iterations: int = FINGERPRINT_ITERATIONS) -> bytes:
    """Hash one party's name and identity key, 64 bytes.

    Args:
        name: Whoever the application says it is: the 16 bytes of a user's UUID here.
        identity_key: 33 bytes.
        iterations: How often to hash; both sides must use the same number.
    """
    digest = sha512(_VERSION + identity_key + name + identity_key).digest()
    for _ in range(iterations - 1):
        digest = sha512(digest + identity_key).digest()
    return digest


class SafetyNumber(NamedTuple):
    """The safety number of two devices; both sides see the same digits.

    Attributes:
        local: The fingerprint of this side, 64 bytes.
        remote: The fingerprint of the other side, 64 bytes.
        device: The other device, and
        identity_key: its identity key: what is being verified.
        version: Under which version it is shown.
    """

    local: bytes
    remote: bytes
    device: DeviceId
    identity_key: PublicKey
    version: int = FINGERPRINT_VERSION

    @property
    def digits(self) -> str:
        """60 digits, to be read aloud or compared by eye."""
        return "".join(sorted((_digits(self.local), _digits(self.remote))))

    @property
    def scannable(self) -> bytes:
        """The bytes of the QR code that the other side scans."""
        return write(
            (
                (1, self.version),
                (2, write(((1, self.local[:_SCANNED_BYTES]),))),
                (3, write(((1, self.remote[:_SCANNED_BYTES]),))),
            )
        )

    def matches(self, scanned: bytes) -> bool:
        """Whether the bytes of the other side's QR code belong to the same two keys.

        Raises:
            InvalidMessageError: They are no safety number.
            UnsupportedVersionError: They are one of another version.
        """
        fields = read(scanned, _ENVELOPE)
        version = fields.numbers.get(1)
        if version is None:
            raise InvalidMessageError("a scanned safety number has no version")
        if version != self.version:
            raise UnsupportedVersionError(found=version, supported=(self.version,))
        # Their local half is our remote one. Both comparisons are made, whatever the first one says.
        is_same_remote = hmac.compare_digest(_half(fields, 2), self.remote[:_SCANNED_BYTES])
        is_same_local = hmac.compare_digest(_half(fields, 3), self.local[:_SCANNED_BYTES])
        return is_same_remote and is_same_local


def _digits(digest: bytes) -> str:
    groups = (digest[i * _GROUP_BYTES : (i + 1) * _GROUP_BYTES] for i in range(_GROUPS))
    return "".join(f"{int.from_bytes(group, 'big') % 100_000:05d}" for group in groups)


def _half(fields: Fields, number: int) -> bytes:
    half = read(fields.blobs.get(number, b""), _HALF).blobs.get(1)
    if half is None:
        raise InvalidMessageError("a scanned safety number lacks a fingerprint")
    return half
