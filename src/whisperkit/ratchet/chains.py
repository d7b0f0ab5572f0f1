"""Key derivation: the root step, the chain step, and the keys of one message.

Each kind of key is a type of its own, because each is 32 bytes and only the names keep them apart. A skipped
message is remembered by its seed, not by its keys: the key of the post-quantum ratchet, which is mixed in
when keys are made, is known only when the message arrives.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NewType

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.curve import SharedSecret
from whisperkit.ratchet.prepared_hmac import NO_SALT, hkdf, hmac_sha256
from whisperkit.ratchet.redaction import redacted

__all__ = [
    "ChainKey",
    "MacKey",
    "MessageKeys",
    "MessageSeed",
    "RootKey",
    "decrypt_body",
    "encrypt_body",
    "group_message_keys",
    "message_keys",
    "message_seed",
    "next_chain_key",
    "next_root",
]

RootKey = NewType("RootKey", bytes)
"""``RK`` in the Double Ratchet: 32 bytes, replaced at every Diffie-Hellman step."""

ChainKey = NewType("ChainKey", bytes)
"""``CK``: 32 bytes, replaced at every message."""

MessageSeed = NewType("MessageSeed", bytes)
"""What the keys of one message grow from: 32 bytes, used once."""

MacKey = NewType("MacKey", bytes)
"""The key of one message's MAC: 32 bytes."""

_BLOCK_BYTES: Final = 16
_PADS: Final = tuple(bytes([n]) * n for n in range(_BLOCK_BYTES + 1))


class MessageKeys(NamedTuple):
    """The keys of exactly one message.

    Attributes:
        cipher_key: For AES-256-CBC, 32 bytes.
        mac_key: For HMAC-SHA-256, 32 bytes; empty for a group message, which is signed instead.
        iv: 16 bytes.
    """

    cipher_key: bytes
    mac_key: MacKey
    iv: bytes

    def __repr__(self) -> str:
        return redacted(self)


def next_root(root_key: RootKey, secret: SharedSecret) -> tuple[RootKey, ChainKey]:
    """Mix an agreement into the root key: ``KDF_RK``.

    Returns:
        The next root key, and the first chain key of a chain.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``KDF_RK``.
    """
    out = hkdf(secret, b"WhisperRatchet", 64, salt=root_key)
    return RootKey(out[:32]), ChainKey(out[32:])


def message_seed(chain_key: ChainKey) -> MessageSeed:
    """The seed of the message at this link of the chain.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``KDF_CK`` with the constant 0x01.
    """
    return MessageSeed(hmac_sha256(chain_key, b"\x01"))


def next_chain_key(chain_key: ChainKey) -> ChainKey:
    """The next link of the chain.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``KDF_CK`` with the constant 0x02.
    """
    return ChainKey(hmac_sha256(chain_key, b"\x02"))


def message_keys(seed: MessageSeed, pq_key: bytes | None) -> MessageKeys:
    """The keys of a message in a session.

    Args:
        seed: From the chain.
        pq_key: The key of the post-quantum ratchet for this message, 32 bytes; `None` if it gave none.

    Spec:
        Double Ratchet rev. 4, "The Triple Ratchet: combining Secure Messaging protocols for hybrid security" (the
        key of the post-quantum ratchet is the salt), and "Recommended cryptographic algorithms", ``ENCRYPT``.
    """
    out = hkdf(seed, b"WhisperMessageKeys", 80, salt=NO_SALT if pq_key is None else pq_key)
    return MessageKeys(cipher_key=out[:32], mac_key=MacKey(out[32:64]), iv=out[64:])


def group_message_keys(seed: MessageSeed) -> MessageKeys:
    """The keys of a group message. The initialisation vector comes first here, and there is no MAC key.

    Spec:
        Nothing is published for groups; ``docs/explanation/security.md``, "Groups: sender keys".
    """
    out = hkdf(seed, b"WhisperGroup", 48)
    return MessageKeys(cipher_key=out[16:], mac_key=MacKey(b""), iv=out[:16])


def encrypt_body(keys: MessageKeys, plaintext: bytes) -> bytes:
    """Pad (PKCS #7) and encrypt (AES-256-CBC): one to sixteen bytes longer.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``ENCRYPT``; RFC 5652, "Content-encryption
        Process", for the padding.
    """
    encryptor = Cipher(AES(keys.cipher_key), CBC(keys.iv)).encryptor()
    pad = _PADS[_BLOCK_BYTES - len(plaintext) % _BLOCK_BYTES]
    return encryptor.update(plaintext + pad) + encryptor.finalize()


def decrypt_body(keys: MessageKeys, ciphertext: bytes) -> bytes:
    """Undo `encrypt_body`. Called only after the MAC or signature was found good: bad padding tells nobody anything.

    Raises:
        InvalidMessageError: Not whole blocks, or the padding is wrong.
    """
    if not ciphertext or len(ciphertext) % _BLOCK_BYTES:
        raise InvalidMessageError(f"a body has whole blocks of {_BLOCK_BYTES} bytes, got {len(ciphertext)} bytes")
    decryptor = Cipher(AES(keys.cipher_key), CBC(keys.iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    size = padded[-1]
    if not 1 <= size <= _BLOCK_BYTES or not padded.endswith(_PADS[size]):
        raise InvalidMessageError("the padding of a body is wrong")
    return padded[:-size]
