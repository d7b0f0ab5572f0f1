"""Sessions of one device over a store: each call loads its records, computes, commits, and only then returns.

There is no save to forget and no state to lose: `SessionManager.open` goes on after a crash where the last call that
returned had left off. Two tasks may use one manager; a conflict of theirs is run again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import (
    CiphertextMessage,
    Device,
    PreKeyBundle,
    PreKeyUpload,
    PublicKey,
    SafetyNumber,
    SenderKeyDistributionMessage,
)
from whisperkit.runtime import Runtime
from whisperkit.stores import PartitionStore

__all__ = ["SessionManager"]

T = TypeVar("T")


class SessionManager:
    """The ratchet of one device, with a store around it; made by `create` or `open`.

    Args:
        records: The device's partition.
        ratchet: The pure ratchet.
        wall_ms: The clock, milliseconds since 1970.
    """

    def __init__(self, records: DeviceRecords, ratchet: Device, *, wall_ms: Callable[[], int]) -> None:
        self._records = records
        self._ratchet = ratchet
        self._wall_ms = wall_ms

    @classmethod
    async def create(cls, store: PartitionStore, device: DeviceId, *, runtime: Runtime | None = None) -> SessionManager:
        """Make a new device with identity keys of its own.

        Args:
            store: Where it is kept.
            device: Its address, bound into first messages.
            runtime: The world; without one the system's clock and randomness.

        Raises:
            UsageError: The store has this device already: `open` it.
        """
        manager = cls._over(store, device, runtime)

        async def create(turn: Turn) -> None:
            turn.save(manager._ratchet.create_identity(await turn.load(manager._ratchet.records_for_prekeys())).save)

        await manager._records.run(create)
        return manager

    @classmethod
    async def open(cls, store: PartitionStore, device: DeviceId, *, runtime: Runtime | None = None) -> SessionManager:
        """Go on with a device that was created before.

        Raises:
            UsageError: There is none in the store.
        """
        manager = cls._over(store, device, runtime)
        if not await manager.exists():
            raise UsageError(f"{device} is not in the store; create it")
        return manager

    @classmethod
    def _over(cls, store: PartitionStore, device: DeviceId, runtime: Runtime | None) -> SessionManager:
        random_bytes = runtime.random if runtime is not None else os.urandom
        records = DeviceRecords(store, device, random_bytes=random_bytes, runtime=runtime)
        wall_ms = runtime.wall_ms if runtime is not None else _system_wall_ms
        return cls(records, Device(device, random_bytes=random_bytes), wall_ms=wall_ms)

    @property
    def device(self) -> DeviceId:
        """Whose sessions these are."""
        return self._records.device

    async def exists(self) -> bool:
        """Whether the device has been created."""

        async def look(turn: Turn) -> bool:
            return bool(await turn.load(self._ratchet.records_for_prekeys()[:1]))

        return await self._records.read(look)

    # ---- keys ----

    async def identity_key(self) -> PublicKey:
        """The device's public identity key, 33 bytes."""

        async def look(turn: Turn) -> PublicKey:
            return self._ratchet.identity_key(await turn.load(self._ratchet.records_for_prekeys()[:1]))

        return await self._records.read(look)

    async def generate_prekeys(self, *, one_time: int = 100) -> PreKeyUpload:
        """Make prekeys, renewing the signed ones when they are due; returns what to publish: public halves only."""

        async def generate(turn: Turn) -> PreKeyUpload:
            rows = await turn.load(self._ratchet.records_for_prekeys())
            made = self._ratchet.generate_prekeys(rows, wall_ms=self._wall_ms(), one_time=one_time)
            turn.save(made.save)
            return made.upload

        return await self._records.run(generate)

    # ---- one to one ----

    async def process_bundle(self, remote: DeviceId, bundle: PreKeyBundle) -> None:
        """Make a session from a device's bundle; see `Device.process_bundle` for the errors."""

        async def process(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for(remote))
            turn.save(self._ratchet.process_bundle(rows, bundle, remote=remote, wall_ms=self._wall_ms()).save)

        await self._records.run(process)

    async def encrypt(self, plaintext: bytes, *, to: DeviceId) -> CiphertextMessage:
        """Encrypt for a device; when this returns the message may leave. See `Device.encrypt` for the errors."""

        async def encrypt(turn: Turn) -> CiphertextMessage:
            rows = await turn.load(self._ratchet.records_for(to))
            sealed = self._ratchet.encrypt(rows, plaintext, remote=to, wall_ms=self._wall_ms())
            turn.save(sealed.save)
            return sealed.message

        return await self._records.run(encrypt)

    async def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        """Decrypt what a device sent; a failure changes nothing. See `Device.decrypt` for the errors."""

        async def decrypt(turn: Turn) -> bytes:
            rows = await turn.load(self._ratchet.records_for(sender, message))
            opened = self._ratchet.decrypt(rows, message, sender=sender, wall_ms=self._wall_ms())
            turn.save(opened.save)
            return opened.plaintext

        return await self._records.run(decrypt)

    # ---- trust ----

    async def safety_number(self, remote: DeviceId) -> SafetyNumber:
        """The safety number with a device, to compare with what the other side shows."""

        async def look(turn: Turn) -> SafetyNumber:
            return self._ratchet.safety_number(await turn.load(self._ratchet.records_for(remote)), remote=remote)

        return await self._records.read(look)

    async def mark_verified(self, number: SafetyNumber) -> None:
        """Note that a person compared a safety number."""

        async def mark(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for(number.device))
            turn.save(self._ratchet.mark_verified(rows, number, wall_ms=self._wall_ms()).save)

        await self._records.run(mark)

    async def accept_identity(self, remote: DeviceId, identity_key: bytes) -> None:
        """Trust another identity key of a device from now on, because a person said so."""

        async def accept(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for(remote))
            turn.save(self._ratchet.accept_identity(rows, identity_key, remote=remote, wall_ms=self._wall_ms()).save)

        await self._records.run(accept)

    # ---- groups ----

    async def create_distribution(self, group: ConversationId) -> SenderKeyDistributionMessage:
        """This device's sender key for a group, made if there is none: send it to each reader, encrypted."""

        async def create(turn: Turn) -> SenderKeyDistributionMessage:
            made = self._ratchet.create_distribution(await turn.load(self._ratchet.records_for_group(group)), group)
            turn.save(made.save)
            return made.message

        return await self._records.run(create)

    async def rotate_sender_key(self, group: ConversationId) -> SenderKeyDistributionMessage:
        """A new sender key, because somebody left: what it returns goes to those who stay."""

        async def rotate(turn: Turn) -> SenderKeyDistributionMessage:
            made = self._ratchet.rotate_sender_key(await turn.load(self._ratchet.records_for_group(group)), group)
            turn.save(made.save)
            return made.message

        return await self._records.run(rotate)

    async def process_distribution(self, distribution: SenderKeyDistributionMessage, *, sender: DeviceId) -> None:
        """Take the sender key of another device, from inside a message of that device."""

        async def process(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for_sender_key(distribution, sender=sender))
            turn.save(self._ratchet.process_distribution(rows, distribution, sender=sender).save)

        await self._records.run(process)

    async def group_encrypt(self, plaintext: bytes, *, group: ConversationId) -> CiphertextMessage:
        """Encrypt once for everybody who has this device's sender key."""

        async def encrypt(turn: Turn) -> CiphertextMessage:
            rows = await turn.load(self._ratchet.records_for_group(group))
            sealed = self._ratchet.group_encrypt(rows, plaintext, group=group)
            turn.save(sealed.save)
            return sealed.message

        return await self._records.run(encrypt)

    async def group_decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        """Decrypt a group message."""

        async def decrypt(turn: Turn) -> bytes:
            rows = await turn.load(self._ratchet.records_for_sender_key(message, sender=sender))
            opened = self._ratchet.group_decrypt(rows, message, sender=sender)
            turn.save(opened.save)
            return opened.plaintext

        return await self._records.run(decrypt)


def _system_wall_ms() -> int:
    return time.time_ns() // 1_000_000
