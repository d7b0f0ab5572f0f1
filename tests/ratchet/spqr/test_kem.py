"""The key pairs of the agreement."""

from __future__ import annotations

from hashlib import sha3_256

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from whisperkit.ratchet.spqr.kem import ML_KEM_768
from whisperkit.testing.ratchet import seeded_bytes


def test_a_key_travels_in_two_parts_the_seed_of_its_matrix_first() -> None:
    keys = ML_KEM_768.generate(random_bytes=seeded_bytes(5))

    public = MLKEM768PrivateKey.from_seed_bytes(keys.seed).public_key().public_bytes_raw()
    assert keys.ek + keys.header[:32] == public
    assert keys.header[32:] == sha3_256(public).digest()


def test_the_seed_recovers_the_secret() -> None:
    keys = ML_KEM_768.generate(random_bytes=seeded_bytes(6))

    secret, ciphertext = MLKEM768PublicKey.from_public_bytes(keys.ek + keys.header[:32]).encapsulate()

    assert ML_KEM_768.decapsulate(keys.seed, ciphertext) == secret
