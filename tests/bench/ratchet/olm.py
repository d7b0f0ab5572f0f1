"""vodozemac: Olm sessions and Megolm groups, in Rust, without a post-quantum part.

Its messages are made into bytes and read from bytes within what is measured, as ours are.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

__all__ = ["Olm"]

# Any: only the benchmark installs it, so the type checkers must do without.
_vodozemac: Final[Any] = importlib.import_module("vodozemac")

_PREKEY: Final = 0

Message = tuple[int, bytes]


class Olm:
    """vodozemac. Its sessions change in place; nothing is saved."""

    def versions(self) -> dict[str, str]:
        return {"vodozemac": version("vodozemac")}

    def meet(self) -> _Conversation:
        devices = self.set_ups(1)
        assert devices.respond(devices.initiate([b"hello"])) == [b"hello"]
        return _Conversation(devices.begun[0], devices.answered[0])

    def set_ups(self, count: int) -> _SetUps:
        return _SetUps(count)

    def group(self) -> _Group:
        return _Group()

    def records(self, plaintexts: Sequence[bytes]) -> None:
        """Its pickles are encrypted: nothing to compare with."""

    def close(self) -> None:
        """Nothing is held."""


class _Conversation:
    def __init__(self, alice: Any, bob: Any) -> None:
        self._writer = alice
        self._reader = bob

    def send(self, plaintexts: Sequence[bytes]) -> list[Message]:
        encrypt = self._writer.encrypt
        return [encrypt(plaintext).to_parts() for plaintext in plaintexts]

    def receive(self, messages: Sequence[Message]) -> list[bytes]:
        decrypt, from_parts = self._reader.decrypt, _vodozemac.AnyOlmMessage.from_parts
        return [decrypt(from_parts(kind, body)) for kind, body in messages]

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        writer, reader, from_parts = self._writer, self._reader, _vodozemac.AnyOlmMessage.from_parts
        read: list[bytes] = []
        for plaintext in plaintexts:
            writer, reader = reader, writer
            kind, body = writer.encrypt(plaintext).to_parts()
            read.append(reader.decrypt(from_parts(kind, body)))
        self._writer, self._reader = writer, reader
        return read

    def repeats_handshake(self, message: Message) -> bool:
        return message[0] == _PREKEY


class _SetUps:
    """Attributes:
    begun: Alices' sessions.
    answered: Bob's.
    """

    def __init__(self, count: int) -> None:
        alices = [_vodozemac.Account() for _ in range(count)]
        self._bob = _vodozemac.Account()
        self._bob.generate_one_time_keys(count)
        self._identity = self._bob.curve25519_key.to_bytes()
        one_time = [key.to_bytes() for key in self._bob.one_time_keys.values()]
        self._bob.mark_keys_as_published()
        self._initiators = iter(list(zip(alices, one_time, strict=True)))
        self._responders = iter([alice.curve25519_key for alice in alices])
        self.begun: list[Any] = []
        self.answered: list[Any] = []

    def initiate(self, plaintexts: Sequence[bytes]) -> list[Message]:
        from_bytes = _vodozemac.Curve25519PublicKey.from_bytes
        sent: list[Message] = []
        for plaintext, (alice, one_time) in zip(plaintexts, self._initiators, strict=False):
            session = alice.create_outbound_session(from_bytes(self._identity), from_bytes(one_time))
            sent.append(session.encrypt(plaintext).to_parts())
            self.begun.append(session)
        return sent

    def respond(self, messages: Sequence[Message]) -> list[bytes]:
        read: list[bytes] = []
        for (kind, body), identity in zip(messages, self._responders, strict=False):
            first = _vodozemac.AnyOlmMessage.from_parts(kind, body).to_pre_key()
            session, plaintext = self._bob.create_inbound_session(identity, first)
            self.answered.append(session)
            read.append(plaintext)
        return read


class _Group:
    def __init__(self) -> None:
        self._sender = _vodozemac.GroupSession()
        self._reader = _vodozemac.InboundGroupSession(self._sender.session_key)

    def send(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        encrypt = self._sender.encrypt
        return [encrypt(plaintext).to_bytes() for plaintext in plaintexts]

    def receive(self, messages: Sequence[bytes]) -> list[bytes]:
        decrypt, from_bytes = self._reader.decrypt, _vodozemac.MegolmMessage.from_bytes
        return [decrypt(from_bytes(body)).plaintext for body in messages]
