"""Sessions of one device over a store: each call loads its records, computes, commits, and only then returns.

There is no save to forget and no state to lose: `SessionManager.open` goes on after a crash where the last call that
returned had left off. Two tasks may use one manager; a conflict of theirs is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, TypeVar

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.errors import CorruptStateError, MalformedIdError, NoSessionError, UsageError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Change, Partition
from whisperkit.ratchet import (
    CiphertextMessage,
    DecryptionErrorMessage,
    Device,
    PlaintextContent,
    PreKeyBundle,
    PreKeyUpload,
    PublicKey,
    Records,
    SafetyNumber,
    SenderKeyDistributionMessage,
    is_of_current_session,
)
from whisperkit.ratchet.sealed_sender import ContentHint, SealingDevice, SenderCertificate, SenderTrust, Unsealed
from whisperkit.runtime import Runtime
from whisperkit.stores import PartitionStore, commit_changes

__all__ = ["SessionManager"]

T = TypeVar("T")

# Says which device a store holds, for whoever opens it without knowing.
_POINTER: Final = Partition("device")


class SessionManager:
    """The ratchet of one device, with a store around it; made by `create` or `open`.

    Args:
        records: The device's partition.
        ratchet: The pure ratchet.
        runtime: The world.
    """

    def __init__(self, records: DeviceRecords, ratchet: Device, runtime: Runtime) -> None:
        self._records = records
        self._ratchet = ratchet
        self._sealing = SealingDevice(records.device, random_bytes=runtime.random)
        self._wall_ms = runtime.wall_ms

    @classmethod
    async def create(cls, store: PartitionStore, device: DeviceId, *, runtime: Runtime | None = None) -> SessionManager:
        """Make a new device with identity keys of its own.

        Args:
            store: Where it is kept; one device for each store.
            device: Its address, bound into first messages.
            runtime: The world; without one `AnyioRuntime`.

        Raises:
            UsageError: The store has a device already: `open` it.
        """
        found = (await store.heads([_POINTER])).get(_POINTER)
        if found is not None:
            raise UsageError(
                f"the store holds {found.state.decode(errors='replace')} already; open it", code="usage.device-in-store"
            )
        manager = cls._over(store, device, runtime)

        async def create(turn: Turn) -> None:
            # A creation that was cut off before the pointer was written is completed.
            if not await turn.load(manager._ratchet.records_for_prekeys()[:1]):
                turn.save(manager._ratchet.create_identity({}).save)

        await manager._records.run(create)
        await commit_changes(store, [Change(_POINTER, 0, device.encode())])
        return manager

    @classmethod
    async def open(
        cls, store: PartitionStore, device: DeviceId | None = None, *, runtime: Runtime | None = None
    ) -> SessionManager:
        """Go on with the device that was created in a store.

        Args:
            store: Where it is kept.
            device: Which one is expected; `None`: the one that is there.
            runtime: As in `create`.

        Raises:
            UsageError: There is none in the store, or another one.
            CorruptStateError: What lies in its place names no device.
        """
        found = (await store.heads([_POINTER])).get(_POINTER)
        if found is None:
            raise UsageError("there is no device in the store; create it", code="usage.device-in-store")
        try:
            there = DeviceId.parse(found.state.decode())
        except (ValueError, MalformedIdError) as error:
            raise CorruptStateError(kind="device", reason=str(error)) from None
        if device not in (None, there):
            raise UsageError(f"the store holds {there}, not {device}", code="usage.device-in-store")
        return cls._over(store, there, runtime)

    @classmethod
    def _over(cls, store: PartitionStore, device: DeviceId, runtime: Runtime | None) -> SessionManager:
        # Not opened: a manager spawns nothing, it only waits, draws randomness and reads the clock.
        world = runtime or AnyioRuntime()
        return cls(DeviceRecords(store, device, world), Device(device, random_bytes=world.random), world)

    @property
    def device(self) -> DeviceId:
        """Whose sessions these are."""
        return self._records.device

    # ---- keys ----

    async def identity_key(self) -> PublicKey:
        """The device's public identity key, 33 bytes."""

        async def look(turn: Turn) -> PublicKey:
            return self._ratchet.identity_key(await turn.load(self._ratchet.records_for_prekeys()[:1]))

        return await self._records.read(look)

    async def generate_prekeys(self, *, one_time: int = 100) -> PreKeyUpload:
        """Make prekeys, renewing the signed ones when they are due; returns what to publish: public halves only.

        When the server has them, say so with `prekeys_published`.
        """

        async def generate(turn: Turn) -> PreKeyUpload:
            rows = await turn.load(self._ratchet.records_for_prekeys())
            made = self._ratchet.generate_prekeys(rows, wall_ms=self._wall_ms(), one_time=one_time)
            turn.save(made.save)
            return made.upload

        return await self._records.run(generate)

    async def prekeys_published(self, *, one_time_left: int) -> None:
        """Note that the server has what `generate_prekeys` returned last, and forget what nobody will use any more.

        Args:
            one_time_left: How many one-time prekeys the server has left of this device.

        Raises:
            UsageError: None were ever generated.
        """

        async def note(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for_published())
            wall_ms = self._wall_ms()
            turn.save(self._ratchet.prekeys_published(rows, one_time_left=one_time_left, wall_ms=wall_ms).save)

        await self._records.run(note)

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
            await turn.load(self._ratchet.records_for(to))
            sealed = await self._with_session(
                turn,
                lambda rows: self._ratchet.encrypt(rows, plaintext, remote=to, wall_ms=self._wall_ms()),
            )
            turn.save(sealed.save)
            return sealed.message

        return await self._records.run(encrypt)

    async def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        """Decrypt what a device sent; a failure changes nothing. See `Device.decrypt` for the errors."""

        async def decrypt(turn: Turn) -> bytes:
            await turn.load(self._ratchet.records_for(sender, message))
            opened = await self._with_session(
                turn,
                lambda rows: self._ratchet.decrypt(rows, message, sender=sender, wall_ms=self._wall_ms()),
            )
            turn.save(opened.save)
            return opened.plaintext

        return await self._records.run(decrypt)

    async def _with_session(self, turn: Turn, operate: Callable[[Records], T]) -> T:
        """Do what takes a session; an error that there is none tells also with how many other devices there is one."""
        try:
            return operate(turn.rows)
        except NoSessionError as error:
            return operate(await turn.load(self._ratchet.records_for_user(error.remote.user)))

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

    # ---- sealed: the server need not know who writes ----

    async def encrypt_sealed(
        self,
        plaintext: bytes,
        *,
        to: DeviceId,
        certificate: SenderCertificate,
        hint: ContentHint = ContentHint.DEFAULT,
    ) -> bytes:
        """Encrypt for a device, and seal who it is from; when this returns the bytes may leave.

        Args:
            plaintext: What to say.
            to: For which device.
            certificate: This device's, from its server.
            hint: What the other side shall do if it does not open.

        Raises:
            WhisperError: See `SealingDevice.encrypt`.
        """

        async def encrypt(turn: Turn) -> bytes:
            rows = await turn.load(self._ratchet.records_for(to))
            sealed = self._sealing.encrypt(
                rows, plaintext, remote=to, certificate=certificate, wall_ms=self._wall_ms(), hint=hint
            )
            turn.save(sealed.save)
            return sealed.body

        return await self._records.run(encrypt)

    async def group_encrypt_sealed(
        self,
        plaintext: bytes,
        *,
        group: ConversationId,
        to: Collection[DeviceId],
        certificate: SenderCertificate,
        excluded: Collection[str] = (),
        hint: ContentHint = ContentHint.DEFAULT,
    ) -> bytes:
        """Encrypt once for a group, and seal for many devices; a server takes it apart with `SentMessage.decode`.

        Args:
            plaintext: What to say.
            group: Which group.
            to: The devices that get it.
            certificate: This device's, from its server.
            excluded: Users who get nothing although they are members.
            hint: What the others shall do if it does not open.

        Raises:
            WhisperError: See `SealingDevice.group_encrypt`.
        """

        async def encrypt(turn: Turn) -> bytes:
            rows = await turn.load(self._sealing.records_for_many(group, to))
            sealed = self._sealing.group_encrypt(
                rows,
                plaintext,
                group=group,
                recipients=to,
                certificate=certificate,
                wall_ms=self._wall_ms(),
                excluded=excluded,
                hint=hint,
            )
            turn.save(sealed.save)
            return sealed.body

        return await self._records.run(encrypt)

    async def unseal(self, data: bytes, *, trust: SenderTrust, taken_at_ms: int | None = None) -> Unsealed:
        """Find out who sealed something, and for what; it changes nothing.

        Args:
            data: What came.
            trust: Whose certificates are believed.
            taken_at_ms: When the server took it in, milliseconds since 1970; `None` for now.

        Raises:
            WhisperError: See `SealingDevice.unseal`.
        """

        async def unseal(turn: Turn) -> Unsealed:
            rows = await turn.load(self._sealing.records_for_unseal())
            wall_ms = self._wall_ms() if taken_at_ms is None else taken_at_ms
            return self._sealing.unseal(rows, data, trust=trust, wall_ms=wall_ms)

        return await self._records.read(unseal)

    async def decrypt_unsealed(self, unsealed: Unsealed) -> bytes:
        """Decrypt what was under a seal, to this device or to a group; see `SealingDevice.decrypt` for the errors."""

        async def decrypt(turn: Turn) -> bytes:
            rows = await turn.load(self._sealing.records_for_unsealed(unsealed))
            opened = self._sealing.decrypt(rows, unsealed, wall_ms=self._wall_ms())
            turn.save(opened.save)
            return opened.plaintext

        return await self._records.run(decrypt)

    async def seal_decryption_error(
        self, unsealed: Unsealed, *, sent_at_ms: int, certificate: SenderCertificate
    ) -> bytes:
        """Tell a sender, outside of the session, that what it sealed cannot be decrypted.

        Args:
            unsealed: What `decrypt_unsealed` failed on.
            sent_at_ms: When it was sent, as your transport says: by this the sender finds it.
            certificate: This device's, from its server.

        Raises:
            UsageError: It is itself word of such a failure: there is no answer to that.
            WhisperError: See `DecryptionErrorMessage.about` and `SealingDevice.seal`.
        """
        message = unsealed.message
        if isinstance(message, PlaintextContent):
            raise UsageError("a decryption error is not answered with another one")
        error = DecryptionErrorMessage.about(message, sender=unsealed.sender, sent_at_ms=sent_at_ms)

        async def seal(turn: Turn) -> bytes:
            return self._sealing.seal(
                await turn.load(self._ratchet.records_for(unsealed.sender)),
                PlaintextContent.of(error),
                remote=unsealed.sender,
                certificate=certificate,
                wall_ms=self._wall_ms(),
                # Nobody misses it if it does not open, and that must not be answered.
                hint=ContentHint.IMPLICIT,
            )

        return await self._records.read(seal)

    async def take_decryption_error(self, unsealed: Unsealed) -> DecryptionErrorMessage:
        """Hear that something could not be decrypted, and put the session aside if it is still the one in use.

        If it is put aside, the next `encrypt` raises `NoSessionError`: take a bundle, and send again.

        Raises:
            WhisperError: See `SealingDevice.decryption_error`.
        """

        async def take(turn: Turn) -> DecryptionErrorMessage:
            rows = await turn.load(self._sealing.records_for_unsealed(unsealed))
            error = self._sealing.decryption_error(rows, unsealed)
            if is_of_current_session(rows, error, remote=unsealed.sender):
                turn.save(self._ratchet.archive_session(rows, remote=unsealed.sender).save)
            return error

        return await self._records.run(take)
