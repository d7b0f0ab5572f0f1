"""Prekeys: what a device publishes so that others can write to it while it is away.

Three kinds, each with a number of its own:

* one-time Curve25519 keys, unsigned, deleted once the first message that used one was read;
* a signed Curve25519 key, replaced every week, kept as long as late first messages may come;
* Kyber1024 keys, all of them signed: one-time ones, and a last resort for when those run out.

The public half travels as a `PublicPreKey`, whose encoding has the number in front, so that a server can
keep, count and hand out prekeys without knowing what they are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from whisperkit.errors import InvalidKeyError, InvalidSignatureError
from whisperkit.ids import DeviceId
from whisperkit.ratchet.curve import PUBLIC_KEY_BYTES, KeyPair, PublicKey, RandomBytes, decode_public, generate
from whisperkit.ratchet.kem import KEM_PUBLIC_KEY_BYTES, KemKeyPair
from whisperkit.ratchet.kem import decode_public as decode_kem_public
from whisperkit.ratchet.kem import generate as generate_kem
from whisperkit.ratchet.xeddsa import SIGNATURE_BYTES, sign, verify

__all__ = [
    "MAX_PREKEY_NUMBER",
    "KyberPreKey",
    "OneTimePreKey",
    "PreKeyBundle",
    "PreKeyUpload",
    "PublicPreKey",
    "SignedPreKey",
    "make_kyber_prekey",
    "make_one_time_prekey",
    "make_signed_prekey",
]

MAX_PREKEY_NUMBER: Final = (1 << 32) - 1

_NUMBER_BYTES: Final = 4
_ENCODED_BYTES: Final = {
    _NUMBER_BYTES + PUBLIC_KEY_BYTES: 0,
    _NUMBER_BYTES + PUBLIC_KEY_BYTES + SIGNATURE_BYTES: SIGNATURE_BYTES,
    _NUMBER_BYTES + KEM_PUBLIC_KEY_BYTES + SIGNATURE_BYTES: SIGNATURE_BYTES,
}


class PublicPreKey(NamedTuple):
    """The public half of a prekey, as it is published.

    Attributes:
        number: Its id, 0 to `MAX_PREKEY_NUMBER`; 0 is a number like any other.
        public: 33 bytes (Curve25519) or 1,569 bytes (Kyber1024), with the type byte.
        signature: 64 bytes by the device's identity key over `public`; empty for a one-time Curve25519 key.
    """

    number: int
    public: bytes
    signature: bytes = b""

    def encode(self) -> bytes:
        """The number, four bytes big-endian; the key; the signature: 37, 101 or 1,637 bytes."""
        return self.number.to_bytes(_NUMBER_BYTES, "big") + self.public + self.signature

    @classmethod
    def decode(cls, data: bytes) -> PublicPreKey:
        """Read what `encode` wrote; keys and signatures are checked where they are used.

        Raises:
            InvalidKeyError: Of another length than the three that there are.
        """
        if len(data) not in _ENCODED_BYTES:
            raise InvalidKeyError(f"a prekey has {', '.join(map(str, _ENCODED_BYTES))} bytes, got {len(data)}")
        end = len(data) - _ENCODED_BYTES[len(data)]
        return cls(int.from_bytes(data[:_NUMBER_BYTES], "big"), data[_NUMBER_BYTES:end], data[end:])


class OneTimePreKey(NamedTuple):
    """A one-time Curve25519 prekey with its private half."""

    number: int
    pair: KeyPair

    @property
    def public(self) -> PublicPreKey:
        """What to publish."""
        return PublicPreKey(self.number, self.pair.public)


class SignedPreKey(NamedTuple):
    """A signed Curve25519 prekey with its private half.

    Attributes:
        number: Its id.
        pair: The keys.
        signature: By the identity key, over the public key.
        made_at_ms: When it was made, milliseconds since 1970.
        replaced_at_ms: When a newer one took its place, or `None` while it is the newest.
    """

    number: int
    pair: KeyPair
    signature: bytes
    made_at_ms: int
    replaced_at_ms: int | None = None

    @property
    def public(self) -> PublicPreKey:
        """What to publish."""
        return PublicPreKey(self.number, self.pair.public, self.signature)


class KyberPreKey(NamedTuple):
    """A Kyber1024 prekey with its private half.

    Attributes:
        number: Its id.
        pair: The keys.
        signature: By the identity key, over the public key.
        made_at_ms: When it was made, milliseconds since 1970.
        is_last_resort: Whether it is kept after use, because there may be no other left.
        replaced_at_ms: When a newer last resort took its place, or `None`.
    """

    number: int
    pair: KemKeyPair
    signature: bytes
    made_at_ms: int
    is_last_resort: bool
    replaced_at_ms: int | None = None

    @property
    def public(self) -> PublicPreKey:
        """What to publish."""
        return PublicPreKey(self.number, self.pair.public, self.signature)


class PreKeyUpload(NamedTuple):
    """All that a device publishes: hand it to the server. Public halves only.

    Attributes:
        identity_key: The device's identity key, 33 bytes.
        registration_id: A number that changes when the device is set up anew.
        signed: The signed prekey.
        last_resort: The Kyber prekey for when the one-time ones run out.
        one_time: New one-time Curve25519 prekeys.
        one_time_kyber: New one-time Kyber prekeys, as many.
    """

    identity_key: PublicKey
    registration_id: int
    signed: PublicPreKey
    last_resort: PublicPreKey
    one_time: tuple[PublicPreKey, ...]
    one_time_kyber: tuple[PublicPreKey, ...]


class PreKeyBundle(NamedTuple):
    """What one device needs to write to another for the first time.

    It comes from a server and is not trusted: `check` is called by `Device.process_bundle`.

    Attributes:
        registration_id: As in `PreKeyUpload`.
        identity_key: The device's identity key, 33 bytes.
        signed: Its signed prekey.
        kyber: A Kyber prekey: a one-time one, or the last resort.
        one_time: A one-time Curve25519 prekey, or `None` if there was none left.
        device: Whose it is, if the server says so; compared with the device that is asked for.
    """

    registration_id: int
    identity_key: bytes
    signed: PublicPreKey
    kyber: PublicPreKey
    one_time: PublicPreKey | None = None
    device: DeviceId | None = None

    @classmethod
    def of(cls, upload: PreKeyUpload, *, index: int | None = 0) -> PreKeyBundle:
        """The bundle that a server makes of an upload.

        Args:
            upload: What the device published.
            index: Which of the one-time prekeys; `None` for the last resort and no one-time key.
        """
        return cls(
            registration_id=upload.registration_id,
            identity_key=upload.identity_key,
            signed=upload.signed,
            kyber=upload.last_resort if index is None else upload.one_time_kyber[index],
            one_time=None if index is None else upload.one_time[index],
        )

    def check(self) -> None:
        """Check the form of all keys, and both signatures.

        Raises:
            InvalidKeyError: A key is none.
            InvalidSignatureError: A signature is not one of the identity key.
        """
        decode_public(self.identity_key)
        decode_public(self.signed.public)
        decode_kem_public(self.kyber.public)
        if self.one_time is not None:
            decode_public(self.one_time.public)
        for kind, prekey in (("signed", self.signed), ("kyber", self.kyber)):
            try:
                verify(self.identity_key, prekey.public, prekey.signature)
            except InvalidSignatureError as error:
                error.add_note(f"it is the signature of the {kind} prekey {prekey.number}")
                raise


def make_one_time_prekey(number: int, *, random_bytes: RandomBytes) -> OneTimePreKey:
    """Make a one-time Curve25519 prekey."""
    return OneTimePreKey(number, generate(random_bytes=random_bytes))


def make_signed_prekey(number: int, *, identity: KeyPair, wall_ms: int, random_bytes: RandomBytes) -> SignedPreKey:
    """Make a signed Curve25519 prekey."""
    pair = generate(random_bytes=random_bytes)
    signature = sign(identity.private, pair.public, random_bytes=random_bytes)
    return SignedPreKey(number, pair, signature, wall_ms)


def make_kyber_prekey(
    number: int, *, identity: KeyPair, wall_ms: int, random_bytes: RandomBytes, is_last_resort: bool
) -> KyberPreKey:
    """Make a Kyber1024 prekey."""
    pair = generate_kem(random_bytes=random_bytes)
    signature = sign(identity.private, pair.public, random_bytes=random_bytes)
    return KyberPreKey(number, pair, signature, wall_ms, is_last_resort)
