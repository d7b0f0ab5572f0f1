"""This library as an application uses it: `Device` over a dictionary, `SessionManager` over a store.

The store of `SessionManager` is the one in memory, so what is measured is what the library does around a message, not a
database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.bench.ratchet.kept import GROUP, Kept, introduce, publish
from whisperkit.client import SessionManager
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, MessageType, PreKeyBundle
from whisperkit.stores import MemoryPartitions

__all__ = ["Devices", "Managers"]

_ALICE = DeviceId.named("alice", 1)
_BOB = DeviceId.named("bob", 1)


class Devices:
    """`Device`, over dictionaries: every message saves the session, which is remembered as long as nobody alters it."""

    def versions(self) -> dict[str, str]:
        return {}  # those of the sessions alone

    def meet(self) -> _DeviceConversation:
        return _DeviceConversation(*introduce())

    def set_ups(self, count: int) -> _DeviceSetUps:
        bob = Kept(_BOB)
        alices = [Kept(DeviceId.named(f"alice {n}", 1)) for n in range(count)]
        return _DeviceSetUps(bob, list(zip(alices, publish(bob, count), strict=True)))

    def group(self) -> _DeviceGroup:
        alice, bob = introduce()
        made = alice.device.create_distribution(alice.records, GROUP)
        alice.save(made.save)
        bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)
        return _DeviceGroup(alice, bob)

    def records(self, plaintexts: Sequence[bytes]) -> None:
        """Its rows are those of the sessions alone."""

    def close(self) -> None:
        """Nothing is held."""


class _DeviceConversation:
    def __init__(self, alice: Kept, bob: Kept) -> None:
        self._alice = alice
        self._bob = bob
        self._writer, self._reader = alice, bob

    def send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        writer, remote = self._writer, self._reader.id
        return [writer.encrypt(plaintext, remote=remote) for plaintext in plaintexts]

    def receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        reader, sender = self._reader, self._writer.id
        return [reader.decrypt(message, sender=sender) for message in messages]

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        writer, reader = self._writer, self._reader
        read: list[bytes] = []
        for plaintext in plaintexts:
            writer, reader = reader, writer
            message = writer.encrypt(plaintext, remote=reader.id)
            read.append(reader.decrypt(message, sender=writer.id))
        self._writer, self._reader = writer, reader
        return read

    def repeats_handshake(self, message: CiphertextMessage) -> bool:
        return message.type == MessageType.PREKEY


class _DeviceSetUps:
    def __init__(self, bob: Kept, pairs: list[tuple[Kept, PreKeyBundle]]) -> None:
        self._bob = bob
        self._initiators = iter(pairs)
        self._responders = iter([alice.id for alice, _ in pairs])

    def initiate(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        sent: list[CiphertextMessage] = []
        for plaintext, (alice, bundle) in zip(plaintexts, self._initiators, strict=False):
            alice.begin(bundle, remote=self._bob.id)
            sent.append(alice.encrypt(plaintext, remote=self._bob.id))
        return sent

    def respond(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return [
            self._bob.decrypt(message, sender=alice) for message, alice in zip(messages, self._responders, strict=False)
        ]


class _DeviceGroup:
    def __init__(self, alice: Kept, bob: Kept) -> None:
        self._alice = alice
        self._bob = bob

    def send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        sent: list[CiphertextMessage] = []
        for plaintext in plaintexts:
            sealed = self._alice.device.group_encrypt(self._alice.records, plaintext, group=GROUP)
            self._alice.save(sealed.save)
            sent.append(sealed.message)
        return sent

    def receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        read: list[bytes] = []
        for message in messages:
            opened = self._bob.device.group_decrypt(self._bob.records, message, sender=self._alice.id)
            self._bob.save(opened.save)
            read.append(opened.plaintext)
        return read


class Managers:
    """`SessionManager`, over `MemoryPartitions`, in an event loop that runs for a slice at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def versions(self) -> dict[str, str]:
        return {}  # those of the sessions alone

    def meet(self) -> _ManagerConversation:
        return _ManagerConversation(self._runner, *self._runner.run(_meet()))

    def set_ups(self, count: int) -> _ManagerSetUps:
        return _ManagerSetUps(self._runner, *self._runner.run(_prepare(count)))

    def group(self) -> _ManagerGroup:
        return _ManagerGroup(self._runner, *self._runner.run(_join()))

    def records(self, plaintexts: Sequence[bytes]) -> None:
        """Its rows are those of the sessions alone."""

    def close(self) -> None:
        self._runner.close()


class _ManagerConversation:
    def __init__(self, runner: asyncio.Runner, alice: SessionManager, bob: SessionManager) -> None:
        self._runner = runner
        self._writer, self._reader = alice, bob

    def send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        return self._runner.run(self._send(plaintexts))

    async def _send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        writer, remote = self._writer, self._reader.device
        return [await writer.encrypt(plaintext, to=remote) for plaintext in plaintexts]

    def receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return self._runner.run(self._receive(messages))

    async def _receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        reader, sender = self._reader, self._writer.device
        return [await reader.decrypt(message, sender=sender) for message in messages]

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        return self._runner.run(self._ping_pong(plaintexts))

    async def _ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        writer, reader = self._writer, self._reader
        read: list[bytes] = []
        for plaintext in plaintexts:
            writer, reader = reader, writer
            message = await writer.encrypt(plaintext, to=reader.device)
            read.append(await reader.decrypt(message, sender=writer.device))
        self._writer, self._reader = writer, reader
        return read

    def repeats_handshake(self, message: CiphertextMessage) -> bool:
        return message.type == MessageType.PREKEY


class _ManagerSetUps:
    def __init__(
        self, runner: asyncio.Runner, bob: SessionManager, pairs: list[tuple[SessionManager, PreKeyBundle]]
    ) -> None:
        self._runner = runner
        self._bob = bob
        self._initiators = iter(pairs)
        self._responders = iter([alice.device for alice, _ in pairs])

    def initiate(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        return self._runner.run(self._initiate(plaintexts))

    async def _initiate(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        sent: list[CiphertextMessage] = []
        for plaintext, (alice, bundle) in zip(plaintexts, self._initiators, strict=False):
            await alice.process_bundle(self._bob.device, bundle)
            sent.append(await alice.encrypt(plaintext, to=self._bob.device))
        return sent

    def respond(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return self._runner.run(self._respond(messages))

    async def _respond(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return [
            await self._bob.decrypt(message, sender=alice)
            for message, alice in zip(messages, self._responders, strict=False)
        ]


class _ManagerGroup:
    def __init__(self, runner: asyncio.Runner, alice: SessionManager, bob: SessionManager) -> None:
        self._runner = runner
        self._alice = alice
        self._bob = bob

    def send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        return self._runner.run(self._send(plaintexts))

    async def _send(self, plaintexts: Sequence[bytes]) -> list[CiphertextMessage]:
        return [await self._alice.group_encrypt(plaintext, group=GROUP) for plaintext in plaintexts]

    def receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return self._runner.run(self._receive(messages))

    async def _receive(self, messages: Sequence[CiphertextMessage]) -> list[bytes]:
        return [await self._bob.group_decrypt(message, sender=self._alice.device) for message in messages]


async def _meet() -> tuple[SessionManager, SessionManager]:
    alice = await SessionManager.create(MemoryPartitions(), _ALICE)
    bob = await SessionManager.create(MemoryPartitions(), _BOB)
    await alice.process_bundle(bob.device, PreKeyBundle.of(await bob.generate_prekeys(one_time=1)))
    assert await bob.decrypt(await alice.encrypt(b"hello", to=bob.device), sender=alice.device) == b"hello"
    return alice, bob


async def _prepare(count: int) -> tuple[SessionManager, list[tuple[SessionManager, PreKeyBundle]]]:
    bob = await SessionManager.create(MemoryPartitions(), _BOB)
    upload = await bob.generate_prekeys(one_time=count)
    alices = [await SessionManager.create(MemoryPartitions(), DeviceId.named(f"alice {n}", 1)) for n in range(count)]
    return bob, [(alice, PreKeyBundle.of(upload, index=n)) for n, alice in enumerate(alices)]


async def _join() -> tuple[SessionManager, SessionManager]:
    alice, bob = await _meet()
    await bob.process_distribution(await alice.create_distribution(GROUP), sender=alice.device)
    return alice, bob
