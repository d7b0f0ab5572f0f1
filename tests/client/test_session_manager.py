"""Sessions over a store: nothing to save, nothing to lose, and no trap in using one manager from two tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

import anyio
import pytest

from whisperkit import ConversationId, DeviceId
from whisperkit.client import SessionManager
from whisperkit.errors import (
    DuplicateMessageError,
    InvalidCertificateError,
    NoSenderKeyError,
    NoSessionError,
    OutcomeUnknownError,
    StaleCertificateError,
    UntrustedIdentityError,
    UsageError,
)
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row, Span
from whisperkit.ratchet import CiphertextMessage, PreKeyBundle, PreKeyUpload
from whisperkit.ratchet.sealed_sender import SenderCertificate, SentMessage
from whisperkit.stores import MemoryPartitions
from whisperkit.testing import Fault, FaultyPartitions, StoreCall
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
GROUP = ConversationId("group")
HOUSE = Authority(random_bytes=seeded_bytes(9))
FAR_MS = 1 << 50


class KeyServer:
    """Prekeys of devices."""

    def __init__(self) -> None:
        self._uploads: dict[DeviceId, PreKeyUpload] = {}
        self._taken: dict[DeviceId, int] = {}

    async def publish(self, device: DeviceId, upload: PreKeyUpload) -> None:
        self._uploads[device] = upload

    async def take_bundle(self, device: DeviceId) -> PreKeyBundle:
        index = self._taken.get(device, 0)
        self._taken[device] = index + 1
        return PreKeyBundle.of(self._uploads[device], index=index)


async def met(alice: SessionManager, bob: SessionManager) -> None:
    """Let Alice have a session with Bob, and Bob one with Alice."""
    await alice.process_bundle(bob.device, PreKeyBundle.of(await bob.generate_prekeys(one_time=1)))
    await bob.decrypt(await alice.encrypt(b"hello", to=bob.device), sender=alice.device)
    await alice.decrypt(await bob.encrypt(b"hi", to=alice.device), sender=bob.device)


async def test_the_example_of_the_documentation_runs() -> None:
    server, group = KeyServer(), GROUP
    alice = await SessionManager.create(MemoryPartitions(), DeviceId.named("alice", 1))
    bob = await SessionManager.create(MemoryPartitions(), DeviceId.named("bob", 1))
    await server.publish(bob.device, await bob.generate_prekeys())  # public halves only; your server
    await alice.process_bundle(bob.device, await server.take_bundle(bob.device))
    first = await alice.encrypt(b"hello", to=bob.device)  # type PREKEY, until Bob answers
    assert await bob.decrypt(first, sender=alice.device) == b"hello"  # your transport carries type and body
    reply = await bob.encrypt(b"hi", to=alice.device)
    assert await alice.decrypt(reply, sender=bob.device) == b"hi"
    one, two = [await alice.encrypt(text, to=bob.device) for text in (b"1", b"2")]
    assert await bob.decrypt(two, sender=alice.device) == b"2"  # out of order is normal
    assert await bob.decrypt(one, sender=alice.device) == b"1"
    with pytest.raises(DuplicateMessageError):  # twice is harmless: ack it and go on
        await bob.decrypt(one, sender=alice.device)
    number = await alice.safety_number(bob.device)
    assert len(number.digits.replace(" ", "")) == 60  # 60 digits, as on the phone
    scanned_qr_bytes = (await bob.safety_number(alice.device)).scannable
    assert number.matches(scanned_qr_bytes)
    await alice.mark_verified(number)
    distribution = await alice.create_distribution(group)  # send it pairwise to each device first
    await bob.process_distribution(distribution, sender=alice.device)
    post = await alice.group_encrypt(b"hello all", group=group)  # one ciphertext for everybody
    assert await bob.group_decrypt(post, sender=alice.device) == b"hello all"
    await alice.rotate_sender_key(group)  # somebody left: what it returns goes to those who stay
    with pytest.raises(NoSenderKeyError):
        await bob.group_decrypt(await alice.group_encrypt(b"not for bob", group=group), sender=alice.device)


async def test_a_manager_that_is_opened_goes_on_where_the_last_call_left_off() -> None:
    stores = {device: MemoryPartitions() for device in (ALICE, BOB)}
    await met(await SessionManager.create(stores[ALICE], ALICE), await SessionManager.create(stores[BOB], BOB))

    alice, bob = await SessionManager.open(stores[ALICE]), await SessionManager.open(stores[BOB], BOB)
    message = await alice.encrypt(b"after the crash", to=BOB)

    assert (alice.device, bob.device) == (ALICE, BOB)
    assert await bob.decrypt(message, sender=ALICE) == b"after the crash"


async def test_a_store_holds_one_device() -> None:
    store = MemoryPartitions()
    with pytest.raises(UsageError, match="create it"):
        await SessionManager.open(store)
    created = await SessionManager.create(store, ALICE)

    with pytest.raises(UsageError, match="open it"):
        await SessionManager.create(store, BOB)
    with pytest.raises(UsageError, match="not"):
        await SessionManager.open(store, BOB)

    assert await (await SessionManager.open(store)).identity_key() == await created.identity_key()


async def test_a_creation_that_was_cut_off_is_completed_with_the_same_keys() -> None:
    store = MemoryPartitions()
    before = await SessionManager.create(store, ALICE)
    lost = MemoryPartitions()
    name = Partition(f"device/{ALICE}")
    rows = await store.rows(name, [EVERYTHING], limit=1_000)
    await lost.commit([Change(name, 0, b"", tuple(rows))])  # the commit of the pointer never came

    after = await SessionManager.create(lost, ALICE)

    assert await after.identity_key() == await before.identity_key()


async def test_many_tasks_may_use_one_manager_and_one_session() -> None:
    alice = await SessionManager.create(SlowPartitions(), ALICE)
    bob = await SessionManager.create(SlowPartitions(), BOB)
    await met(alice, bob)
    messages: dict[int, CiphertextMessage] = {}
    opened: list[bytes] = []

    async def write(number: int) -> None:
        messages[number] = await alice.encrypt(b"%d" % number, to=BOB)

    async def read(message: CiphertextMessage) -> None:
        opened.append(await bob.decrypt(message, sender=ALICE))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(write, number)
    async with anyio.create_task_group() as group:
        for message in messages.values():
            group.start_soon(read, message)

    assert len({message.body for message in messages.values()}) == 30
    assert sorted(opened) == sorted(b"%d" % number for number in range(30))


async def test_two_managers_on_one_store_never_use_a_key_twice() -> None:
    store = SlowPartitions()
    alice, bob = await SessionManager.create(store, ALICE), await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    second = await SessionManager.open(store)
    messages: list[CiphertextMessage] = []

    async def write(manager: SessionManager, text: bytes) -> None:
        messages.append(await manager.encrypt(text, to=BOB))

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(write, alice, b"a%d" % number)
            group.start_soon(write, second, b"b%d" % number)

    assert len({await bob.decrypt(message, sender=ALICE) for message in messages}) == 8


async def test_a_task_that_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    alice = await SessionManager.create(SlowPartitions(), ALICE)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(partial(alice.generate_prekeys, one_time=1))
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    with anyio.fail_after(5):
        await alice.generate_prekeys(one_time=1)


class Faults:
    """Lets the n-th commit from now on fail."""

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.then = 0

    def arm(self, fault: Fault, *, then: int = 0) -> None:
        self.fault, self.then = fault, then

    def __call__(self, call: StoreCall) -> Fault:
        if call.operation != "commit" or self.fault is Fault.NONE:
            return Fault.NONE
        if self.then:
            self.then -= 1
            return Fault.NONE
        fault, self.fault = self.fault, Fault.NONE
        return fault


async def encrypt(alice: SessionManager) -> object:
    return await alice.encrypt(b"x", to=BOB)


async def create_distribution(alice: SessionManager) -> object:
    return await alice.create_distribution(GROUP)


async def group_encrypt(alice: SessionManager) -> object:
    return await alice.group_encrypt(b"x", group=GROUP)


async def generate_prekeys(alice: SessionManager) -> object:
    return await alice.generate_prekeys(one_time=1)


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER])
@pytest.mark.parametrize(
    "call",
    [encrypt, create_distribution, group_encrypt, generate_prekeys],
)
async def test_what_a_call_returns_is_what_was_saved_whatever_became_of_its_commit(
    call: Callable[[SessionManager], Awaitable[object]], fault: Fault
) -> None:
    faults, store = Faults(), MemoryPartitions()
    alice = await SessionManager.create(FaultyPartitions(store, faults), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    await bob.process_distribution(await alice.create_distribution(GROUP), sender=ALICE)

    faults.arm(fault)
    answer = await call(alice)
    later = await alice.encrypt(b"later", to=BOB)

    if isinstance(answer, CiphertextMessage) and answer.type == 7:
        assert await bob.group_decrypt(answer, sender=ALICE) == b"x"
    elif isinstance(answer, CiphertextMessage):
        assert await bob.decrypt(answer, sender=ALICE) == b"x"
    assert await bob.decrypt(later, sender=ALICE) == b"later"


async def test_a_store_that_stays_away_gives_nothing_to_send() -> None:
    is_away = False

    def decide(call: StoreCall) -> Fault:
        return Fault.UNKNOWN_AFTER if is_away and call.operation == "commit" else Fault.NONE

    alice = await SessionManager.create(BrokenRows(MemoryPartitions(), lambda: is_away, decide), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)

    is_away = True
    with pytest.raises(OutcomeUnknownError):
        await alice.encrypt(b"never seen", to=BOB)
    is_away = False

    assert await bob.decrypt(await alice.encrypt(b"x", to=BOB), sender=ALICE) == b"x"


async def test_a_changed_identity_waits_for_a_person() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    new_bob = await SessionManager.create(MemoryPartitions(), BOB)
    bundle = PreKeyBundle.of(await new_bob.generate_prekeys(one_time=1))

    with pytest.raises(UntrustedIdentityError):
        await alice.process_bundle(BOB, bundle)
    await alice.accept_identity(BOB, await new_bob.identity_key())
    with pytest.raises(NoSessionError):
        await alice.encrypt(b"x", to=BOB)
    await alice.process_bundle(BOB, bundle)

    assert await new_bob.decrypt(await alice.encrypt(b"x", to=BOB), sender=ALICE) == b"x"


async def test_a_failure_changes_nothing() -> None:
    store = MemoryPartitions()
    alice = await SessionManager.create(store, ALICE)
    name = Partition(f"device/{ALICE}")
    before = await store.rows(name, [EVERYTHING], limit=1_000)

    with pytest.raises(NoSessionError):
        await alice.encrypt(b"x", to=BOB)
    with pytest.raises(NoSenderKeyError):
        await alice.group_encrypt(b"x", group=GROUP)

    assert await store.rows(name, [EVERYTHING], limit=1_000) == before


async def certified(manager: SessionManager, *, expires_at_ms: int = FAR_MS) -> SenderCertificate:
    return HOUSE.certify(manager.device, await manager.identity_key(), expires_at_ms=expires_at_ms)


async def test_a_sealed_message_tells_its_recipient_who_wrote_it_and_is_decrypted_once() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    sealed = await alice.encrypt_sealed(b"x", to=BOB, certificate=await certified(alice))

    unsealed = await bob.unseal(sealed, trust=HOUSE.trust)

    assert unsealed.sender == ALICE
    assert await bob.decrypt_unsealed(unsealed) == b"x"
    with pytest.raises(DuplicateMessageError):
        await bob.decrypt_unsealed(unsealed)


async def test_a_group_message_is_sealed_once_for_all() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    others = [await SessionManager.create(MemoryPartitions(), DeviceId.named("bob", n)) for n in (1, 2)]
    distribution = await alice.create_distribution(GROUP)
    for each in others:
        await met(alice, each)
        await each.process_distribution(distribution, sender=ALICE)
    excluded = DeviceId.named("carol", 1).user

    sent = await alice.group_encrypt_sealed(
        b"hello all",
        group=GROUP,
        to=[each.device for each in others],
        certificate=await certified(alice),
        excluded=[excluded],
    )
    taken = SentMessage.decode(sent)

    assert taken.excluded == {excluded}
    for part, each in zip(taken.parts, others, strict=True):
        unsealed = await each.unseal(taken.received_by(part), trust=HOUSE.trust)
        assert (part.device, unsealed.sender, unsealed.group_id) == (each.device, ALICE, b"group")
        assert await each.decrypt_unsealed(unsealed) == b"hello all"


async def test_a_certificate_is_judged_by_the_time_at_which_the_server_took_the_message_in() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    sealed = await alice.encrypt_sealed(b"x", to=BOB, certificate=await certified(alice))

    assert (await bob.unseal(sealed, trust=HOUSE.trust, taken_at_ms=FAR_MS)).sender == ALICE
    with pytest.raises(InvalidCertificateError):
        await bob.unseal(sealed, trust=HOUSE.trust, taken_at_ms=FAR_MS + 1)
    with pytest.raises(StaleCertificateError):
        await alice.encrypt_sealed(b"x", to=BOB, certificate=await certified(alice, expires_at_ms=0))


async def test_who_hears_that_a_message_was_lost_puts_that_session_aside_and_no_other() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    await met(alice, bob)
    sealed = await alice.encrypt_sealed(b"lost", to=BOB, certificate=await certified(alice))
    unsealed = await bob.unseal(sealed, trust=HOUSE.trust)
    word = await bob.seal_decryption_error(unsealed, sent_at_ms=7, certificate=await certified(bob))

    heard = await alice.unseal(word, trust=HOUSE.trust)
    error = await alice.take_decryption_error(heard)

    assert (heard.sender, error.sent_at_ms, error.device_number) == (BOB, 7, ALICE.number)
    with pytest.raises(NoSessionError):
        await alice.encrypt(b"x", to=BOB)
    await alice.process_bundle(BOB, PreKeyBundle.of(await bob.generate_prekeys(one_time=1)))
    await alice.take_decryption_error(heard)
    assert await bob.decrypt(await alice.encrypt(b"again", to=BOB), sender=ALICE) == b"again"
    with pytest.raises(UsageError, match="not answered with another one"):
        await alice.seal_decryption_error(heard, sent_at_ms=8, certificate=await certified(alice))


class SlowPartitions(MemoryPartitions):
    """Lets others run during each call, as a real store does."""

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        await anyio.lowlevel.checkpoint()
        return await super().heads(partitions)

    async def commit(self, changes: Sequence[Change]) -> None:
        await anyio.lowlevel.checkpoint()
        await super().commit(changes)


class BrokenRows(FaultyPartitions):
    """Cannot be read either while it is away, and says so in words of its own."""

    def __init__(
        self, store: MemoryPartitions, is_away: Callable[[], bool], decide: Callable[[StoreCall], Fault]
    ) -> None:
        super().__init__(store, decide)
        self._is_away = is_away

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        if self._is_away():
            raise RuntimeError("the disk is gone")
        return await super().rows(partition, spans, limit=limit)
