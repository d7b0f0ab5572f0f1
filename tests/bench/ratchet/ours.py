"""This library, the sessions alone: frozen values that the caller keeps, nothing saved, nothing loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cryptography.hazmat.backends.openssl import backend

from tests.bench.ratchet.kept import GROUP, NOW_MS, Kept, introduce, publish
from whisperkit._version import __version__
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, MessageType, PreKeyBundle, distribution_id, first_contact, sender_keys
from whisperkit.ratchet.messages import PreKeySignalMessage, SenderKeyMessage, SignalMessage
from whisperkit.ratchet.records import (
    IDENTITY_KEY,
    LocalIdentity,
    decode_local_identity,
    decode_session,
    encode_session,
)
from whisperkit.ratchet.session import Session, decrypt, encrypt
from whisperkit.ratchet.sessions import SessionShelf

__all__ = ["Sessions", "versions"]

_DISTRIBUTION: Final = distribution_id(GROUP)


def versions() -> dict[str, str]:
    """This library, and what computes for it."""
    return {
        "whisperkit": __version__,
        "cryptography": version("cryptography"),
        "OpenSSL": backend.openssl_version_text().split()[1],
        "PyNaCl": version("pynacl"),
    }


class Sessions:
    """The functions `encrypt` and `decrypt` of `whisperkit.ratchet.session`, from plaintext to wire and back."""

    def versions(self) -> dict[str, str]:
        return versions()

    def meet(self) -> _Conversation:
        alice, bob = introduce()
        return _Conversation(_current(alice, bob.id), _current(bob, alice.id))

    def set_ups(self, count: int) -> _SetUps:
        bob = Kept(DeviceId.named("bob", 1))
        alices = [Kept(DeviceId.named(f"alice {n}", 1)) for n in range(count)]
        return _SetUps(bob, list(zip(alices, publish(bob, count), strict=True)))

    def group(self) -> _Group:
        state = sender_keys.new_state(random_bytes=os.urandom)
        (known,) = sender_keys.process((), sender_keys.distribution_of(state, _DISTRIBUTION))
        return _Group(state, known)

    def records(self, plaintexts: Sequence[bytes]) -> _Records:
        conversation = self.meet()
        states: list[Session] = []
        for plaintext in plaintexts:
            conversation.ping_pong([plaintext])
            states.append(conversation.reader)
        return _Records(states)

    def close(self) -> None:
        """Nothing is held."""


class _Conversation:
    """Two sessions.

    Attributes:
        writer: The side that wrote last.
        reader: The other one.
    """

    def __init__(self, writer: Session, reader: Session) -> None:
        self.writer = writer
        self.reader = reader

    def send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        session, random_bytes = self.writer, os.urandom
        sent: list[CiphertextMessage] = []
        for plaintext in plaintexts:
            session, message = encrypt(session, plaintext, random_bytes=random_bytes)
            sent.append(message)
        self.writer = session
        return sent

    def receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        session, random_bytes = self.reader, os.urandom
        read: list[bytes] = []
        for message in messages:
            inner = _inner(session, message)
            session, plaintext = decrypt(session, inner, random_bytes=random_bytes)
            read.append(plaintext)
        self.reader = session
        return read

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        writer, reader, random_bytes = self.writer, self.reader, os.urandom
        read: list[bytes] = []
        for text in plaintexts:
            writer, reader = reader, writer
            writer, message = encrypt(writer, text, random_bytes=random_bytes)
            reader, plaintext = decrypt(reader, _inner(reader, message), random_bytes=random_bytes)
            read.append(plaintext)
        self.writer, self.reader = writer, reader
        return read

    def repeats_handshake(self, message: CiphertextMessage) -> bool:
        return message.type == MessageType.PREKEY


class _SetUps:
    def __init__(self, bob: Kept, pairs: list[tuple[Kept, PreKeyBundle]]) -> None:
        self._bob = bob
        self._bob_identity = _identity(bob)
        self._initiators = iter([(alice, _identity(alice), bundle) for alice, bundle in pairs])
        self._responders = iter([alice.id for alice, _ in pairs])

    def initiate(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        sent: list[CiphertextMessage] = []
        for plaintext, (alice, identity, bundle) in zip(plaintexts, self._initiators, strict=False):
            bundle.check()
            session = first_contact.initiate(
                identity, bundle, local=alice.id, remote=self._bob.id, wall_ms=NOW_MS, random_bytes=os.urandom
            )
            sent.append(encrypt(session, plaintext, random_bytes=os.urandom).message)
        return sent

    def respond(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        read: list[bytes] = []
        for message, alice in zip(messages, self._responders, strict=False):
            first = PreKeySignalMessage.decode(message.body)
            session = first_contact.respond(
                self._bob.records, self._bob_identity, first, local=self._bob.id, remote=alice
            )
            inner = SignalMessage.decode(first.message)
            read.append(decrypt(session, inner, random_bytes=os.urandom).plaintext)
        return read


class _Group:
    def __init__(self, sender: sender_keys.SenderKeyState, reader: sender_keys.SenderKeyState) -> None:
        assert sender.signing_private is not None
        self._private = sender.signing_private
        self._sender = sender
        self._reader = reader

    def send(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        state, private = self._sender, self._private
        sent: list[bytes] = []
        for plaintext in plaintexts:
            state, body = sender_keys.encrypt(
                state, private, plaintext, distribution_id=_DISTRIBUTION, random_bytes=os.urandom
            )
            sent.append(body)
        self._sender = state
        return sent

    def receive(self, messages: Sequence[bytes]) -> list[bytes]:
        state = self._reader
        read: list[bytes] = []
        for body in messages:
            state, plaintext = sender_keys.decrypt(state, SenderKeyMessage.decode(body))
            read.append(plaintext)
        self._reader = state
        return read


class _Records:
    def __init__(self, states: list[Session]) -> None:
        self.states = states

    def save(self, states: Sequence[Session]) -> list[bytes]:
        return [encode_session(state) for state in states]

    def load(self, saved: Sequence[bytes]) -> list[Session]:
        return [decode_session(data, _nothing_skipped) for data in saved]


def _inner(session: Session, message: CiphertextMessage) -> SignalMessage:
    if message.type == MessageType.WHISPER:
        return SignalMessage.decode(message.body)
    first = PreKeySignalMessage.decode(message.body)
    assert first.base_key == session.base_key
    return SignalMessage.decode(first.message)


def _current(kept: Kept, remote: DeviceId) -> Session:
    current = SessionShelf(kept.records, remote).current
    assert current is not None
    return current


def _identity(kept: Kept) -> LocalIdentity:
    return decode_local_identity(kept.records[IDENTITY_KEY])


def _nothing_skipped(suffix: bytes) -> None:
    assert suffix
