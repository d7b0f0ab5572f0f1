"""python-doubleratchet: its recommended types, with X25519 and SHA-256 as in Signal, and no post-quantum part.

It is the Double Ratchet alone: an agreement on the first keys, a wire and groups are somebody else's. Its messages are
therefore handed over as the values that they are.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["DoubleRatchetContestant"]

# Any: only the benchmark installs it, so the type checkers must do without. Hence also classes that are made by calls.
_library: Final[Any] = importlib.import_module("doubleratchet")
_aead: Final[Any] = importlib.import_module("doubleratchet.recommended.aead_aes_hmac")
_curve: Final[Any] = importlib.import_module("doubleratchet.recommended.diffie_hellman_ratchet_curve25519")
_hkdf: Final[Any] = importlib.import_module("doubleratchet.recommended.kdf_hkdf")
_hmacs: Final[Any] = importlib.import_module("doubleratchet.recommended.kdf_separate_hmacs")
_hash: Final[Any] = importlib.import_module("doubleratchet.recommended").HashFunction.SHA_256

_ASSOCIATED: Final = bytes(64)


def _associated_data(associated_data: bytes, header: Any) -> bytes:
    length, before = header.sending_chain_length, header.previous_sending_chain_length
    return b"".join((associated_data, header.ratchet_pub, length.to_bytes(4, "big"), before.to_bytes(4, "big")))


def _derives(name: str, base: Any, info: bytes) -> Any:
    return type(name, (base,), {"_get_hash_function": _always(_hash), "_get_info": _always(info)})


def _always(value: object) -> Any:
    return staticmethod(lambda: value)


_Ratchet: Final[Any] = type(
    "_Ratchet", (_library.DoubleRatchet,), {"_build_associated_data": staticmethod(_associated_data)}
)
_TYPES: Final[dict[str, Any]] = {
    "diffie_hellman_ratchet_class": _curve.DiffieHellmanRatchet,
    "root_chain_kdf": _derives("_RootKdf", _hkdf.KDF, b"root"),
    "message_chain_kdf": _derives("_MessageKdf", _hmacs.KDF, b""),
    "message_chain_constant": b"\x01\x02",
    "dos_protection_threshold": 1_000,
    "max_num_skipped_message_keys": 2_000,
    "aead": _derives("_Aead", _aead.AEAD, b"message"),
    "associated_data": _ASSOCIATED,
}


class DoubleRatchetContestant:
    """python-doubleratchet. Its functions are coroutines that never wait; its sessions change in place."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def versions(self) -> dict[str, str]:
        return {"python-doubleratchet": version("DoubleRatchet"), "cryptography": version("cryptography")}

    def meet(self) -> _Conversation:
        return _Conversation(self._runner, *self._runner.run(_meet()))

    def set_ups(self, count: int) -> None:
        """It has no agreement of its own on the first keys."""

    def group(self) -> None:
        """It has none."""

    def records(self, plaintexts: Sequence[bytes]) -> None:
        """Its records are for JSON: nothing to compare with."""

    def close(self) -> None:
        self._runner.close()


class _Conversation:
    def __init__(self, runner: asyncio.Runner, alice: Any, bob: Any) -> None:
        self._runner = runner
        self._writer = alice
        self._reader = bob

    def send(self, plaintexts: Sequence[bytes]) -> list[object]:
        return self._runner.run(self._send(plaintexts))

    async def _send(self, plaintexts: Sequence[bytes]) -> list[object]:
        encrypt = self._writer.encrypt_message
        return [await encrypt(plaintext, _ASSOCIATED) for plaintext in plaintexts]

    def receive(self, messages: Sequence[object]) -> list[bytes]:
        return self._runner.run(self._receive(messages))

    async def _receive(self, messages: Sequence[object]) -> list[bytes]:
        decrypt = self._reader.decrypt_message
        return [await decrypt(message, _ASSOCIATED) for message in messages]

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        return self._runner.run(self._ping_pong(plaintexts))

    async def _ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        writer, reader = self._writer, self._reader
        read: list[bytes] = []
        for plaintext in plaintexts:
            writer, reader = reader, writer
            message = await writer.encrypt_message(plaintext, _ASSOCIATED)
            read.append(await reader.decrypt_message(message, _ASSOCIATED))
        self._writer, self._reader = writer, reader
        return read

    def repeats_handshake(self, message: object) -> bool:
        return False


async def _meet() -> tuple[Any, Any]:
    secret, key = os.urandom(32), X25519PrivateKey.generate()
    public, private = key.public_key().public_bytes_raw(), key.private_bytes_raw()
    alice, message = await _Ratchet.encrypt_initial_message(
        shared_secret=secret, recipient_ratchet_pub=public, message=b"hello", **_TYPES
    )
    bob, plaintext = await _Ratchet.decrypt_initial_message(
        shared_secret=secret, own_ratchet_priv=private, message=message, **_TYPES
    )
    assert plaintext == b"hello"
    return alice, bob
