"""PQXDH: two parties agree on first keys while one of them is away.

Three or four Curve25519 agreements and one KEM secret, hashed together. There is no associated data: the MAC
of every message binds both identity keys.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from whisperkit.errors import InvalidKeyError
from whisperkit.ratchet.chains import ChainKey, RootKey
from whisperkit.ratchet.curve import KeyPair, PublicKey, SharedSecret, agree, is_canonical
from whisperkit.ratchet.kem import Encapsulated, KemSeed, decapsulate
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.redaction import redacted

__all__ = ["FirstKeys", "agree_as_initiator", "agree_as_responder"]

_LABEL: Final = b"WhisperText_X25519_SHA-256_CRYSTALS-KYBER-1024"
# Sets the input apart from every encoded key (X3DH, "Cryptographic notation", ``F``).
_PREFIX: Final = b"\xff" * 32


class FirstKeys(NamedTuple):
    """What the handshake gives.

    Attributes:
        root_key: The first root key.
        chain_key: The first chain key; the responder sends in this chain only in theory.
        spqr_auth_key: What the post-quantum ratchet starts from, 32 bytes.
    """

    root_key: RootKey
    chain_key: ChainKey
    spqr_auth_key: bytes

    def __repr__(self) -> str:
        return redacted(self)


def agree_as_initiator(
    *,
    identity: KeyPair,
    base: KeyPair,
    remote_identity: PublicKey,
    signed_prekey: PublicKey,
    one_time_prekey: PublicKey | None,
    encapsulated: Encapsulated,
) -> FirstKeys:
    """Make the first keys from a bundle whose signatures were checked.

    Args:
        identity: Own identity keys.
        base: A fresh key pair, used for this handshake only.
        remote_identity: The other side's identity key.
        signed_prekey: Its signed prekey.
        one_time_prekey: A one-time prekey, if the bundle had one.
        encapsulated: A fresh secret for its Kyber prekey.

    Raises:
        InvalidKeyError: One of the keys is of low order.

    Spec:
        PQXDH revision 3, "Sending the initial message".
    """
    secrets = [
        agree(identity.private, signed_prekey),
        agree(base.private, remote_identity),
        agree(base.private, signed_prekey),
    ]
    if one_time_prekey is not None:
        secrets.append(agree(base.private, one_time_prekey))
    return _derive([*secrets, encapsulated.secret])


def agree_as_responder(
    *,
    identity: KeyPair,
    signed_prekey: KeyPair,
    one_time_prekey: KeyPair | None,
    kyber_prekey: KemSeed,
    remote_identity: PublicKey,
    base_key: PublicKey,
    kyber_ciphertext: bytes,
) -> FirstKeys:
    """Make the first keys from a first message.

    Args:
        identity: Own identity keys.
        signed_prekey: The signed prekey that the message names.
        one_time_prekey: The one-time prekey that it names, if it names one.
        kyber_prekey: The Kyber prekey that it names.
        remote_identity: The sender's identity key.
        base_key: The sender's base key.
        kyber_ciphertext: From the message.

    Raises:
        InvalidKeyError: The base key is not canonical, or a key is of low order.

    Spec:
        PQXDH revision 3, "Receiving the initial message".
    """
    # The base key names the session, so there must be one way only to write it.
    if not is_canonical(base_key):
        raise InvalidKeyError("the base key of a first message is not canonical")
    secrets = [
        agree(signed_prekey.private, remote_identity),
        agree(identity.private, base_key),
        agree(signed_prekey.private, base_key),
    ]
    if one_time_prekey is not None:
        secrets.append(agree(one_time_prekey.private, base_key))
    return _derive([*secrets, decapsulate(kyber_prekey, kyber_ciphertext)])


def _derive(secrets: list[SharedSecret]) -> FirstKeys:
    okm = hkdf(_PREFIX + b"".join(secrets), _LABEL, 96)
    return FirstKeys(RootKey(okm[:32]), ChainKey(okm[32:64]), okm[64:])
