"""The guarantees of sessions and of the post-quantum ratchet in them, and for each a variant that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.ratchet.guarantees import Broken, altered, friends, no_check, people, refused
from whisperkit.errors import (
    ActionRequiredError,
    AuthenticationError,
    CorruptStateError,
    DuplicateMessageError,
    InvalidMessageError,
    PeerError,
    SkippedTooFarError,
    UntrustedIdentityError,
)
from whisperkit.ratchet import CiphertextMessage, MessageType, spqr
from whisperkit.ratchet import session as sessions_of_one
from whisperkit.ratchet.chains import MessageKeys, MessageSeed, message_keys
from whisperkit.ratchet.curve import RandomBytes, key_pair
from whisperkit.ratchet.double_ratchet import Header, RatchetState, Received, ReceivingChain, Sent, receive, send
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.protobuf import write_varint
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.ratchet.spqr import State
from whisperkit.ratchet.spqr import chain as spqr_chain
from whisperkit.ratchet.spqr.agreement import Agreement
from whisperkit.testing.ratchet import seeded_bytes


def a_late_message_opens_once() -> None:
    alice, bob = friends()
    late, message = alice.encrypt(b"late", to=bob), alice.encrypt(b"x", to=bob)
    bob.decrypt(message, sender=alice)
    assert bob.decrypt(late, sender=alice) == b"late"
    refused(DuplicateMessageError, lambda: bob.decrypt(late, sender=alice))


def a_refused_message_leaves_nothing_behind() -> None:
    alice, bob = friends()
    late, message = alice.encrypt(b"late", to=bob), alice.encrypt(b"x", to=bob)
    bob.decrypt(message, sender=alice)
    state = SessionShelf(bob.records, alice.id).load(0)
    for each in (late, alice.encrypt(b"y", to=bob)):
        bad, good = SignalMessage.decode(altered(each).body), SignalMessage.decode(each.body)
        refused(AuthenticationError, partial(sessions_of_one.decrypt, state, bad, random_bytes=seeded_bytes(1)))
        sessions_of_one.decrypt(state, good, random_bytes=seeded_bytes(1))


def a_message_carries_the_key_of_the_post_quantum_ratchet() -> None:
    alice, bob = friends()
    session = SessionShelf(bob.records, alice.id).load(0)
    stranger = spqr.initial_state(bytes(32), is_initiator=False)
    other = session._replace(ratchet=session.ratchet._replace(spqr=stranger))
    message = SignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    refused(AuthenticationError, lambda: sessions_of_one.decrypt(other, message, random_bytes=seeded_bytes(1)))


def a_conversation_agrees_on_post_quantum_secrets() -> None:
    alice, bob = friends()
    for _ in range(60):
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
        alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)
    for one, other in ((alice, bob), (bob, alice)):
        assert SessionShelf(one.records, other.id).load(0).ratchet.spqr.chain.epoch > 0


def a_post_quantum_key_is_given_out_once() -> None:
    state = spqr.initial_state(bytes(32), is_initiator=False)
    first = spqr.send(spqr.initial_state(bytes(32), is_initiator=True), random_bytes=seeded_bytes(1))
    second = spqr.send(first.state, random_bytes=seeded_bytes(1))
    for message in (second.message, first.message):
        state = spqr.receive(state, message).state
    for message in (second.message, first.message):
        refused(InvalidMessageError, partial(spqr.receive, state, message))


def a_jump_of_the_post_quantum_ratchet_is_bounded() -> None:
    alice, bob = friends()
    session = SessionShelf(bob.records, alice.id).load(0)
    message = SignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    far = message._replace(pq_ratchet=b"\x01\x01" + write_varint(25_010) + b"\x00")
    refused(SkippedTooFarError, lambda: sessions_of_one.decrypt(session, far, random_bytes=seeded_bytes(1)))


def what_a_forged_message_costs_over_all_sessions_is_bounded() -> None:
    alice, bob = friends()
    for _ in range(9):
        alice.meet(bob)
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    first = PreKeySignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    far = SignalMessage.decode(first.message)._replace(ratchet_key=key_pair(b"\x01" * 32).public, counter=24_000)
    with pytest.raises(PeerError) as caught:
        SessionShelf(bob.records, alice.id).decrypt(far, random_bytes=seeded_bytes(1))
    assert caught.value.__notes__[-1].endswith(": 9")


def a_session_keeps_five_receiving_chains() -> None:
    alice, bob = friends()
    for _ in range(6):
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
        alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)
    assert len(SessionShelf(bob.records, alice.id).load(0).ratchet.receiving) == 5


def archived_sessions_are_bounded() -> None:
    alice, bob = friends()
    for _ in range(42):
        alice.meet(bob)
    assert len(list(SessionShelf(alice.records, bob.id))) == 41


def an_archived_session_repeats_nothing() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    answer = bob.encrypt(b"y", to=alice)
    alice.meet(bob)
    assert SessionShelf(alice.records, bob.id).load(0).pending is None
    alice.decrypt(answer, sender=bob)
    assert alice.encrypt(b"z", to=bob).type is MessageType.WHISPER


def a_repeated_first_message_is_of_the_identity_that_is_trusted() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    other = key_pair(b"\x02" * 32).public
    bob.save(bob.device.accept_identity(bob.records, other, remote=alice.id, wall_ms=0).save)
    first = PreKeySignalMessage.decode(alice.encrypt(b"y", to=bob).body)
    forged = CiphertextMessage(MessageType.PREKEY, first._replace(identity_key=other).encode())
    refused(UntrustedIdentityError, lambda: bob.decrypt(forged, sender=alice))


def skipped_keys_are_kept_until_they_are_used() -> None:
    alice, bob = friends()
    late = [alice.encrypt(b"%d" % n, to=bob) for n in range(3)]
    rows = len(bob.records)
    bob.decrypt(late[2], sender=alice)
    assert len(bob.records) == rows + 2
    bob.decrypt(late[0], sender=alice)
    bob.decrypt(late[1], sender=alice)
    assert len(bob.records) == rows


GUARANTEES = [
    a_late_message_opens_once,
    a_refused_message_leaves_nothing_behind,
    a_message_carries_the_key_of_the_post_quantum_ratchet,
    a_conversation_agrees_on_post_quantum_secrets,
    a_post_quantum_key_is_given_out_once,
    a_jump_of_the_post_quantum_ratchet_is_bounded,
    what_a_forged_message_costs_over_all_sessions_is_bounded,
    a_session_keeps_five_receiving_chains,
    archived_sessions_are_bounded,
    an_archived_session_repeats_nothing,
    a_repeated_first_message_is_of_the_identity_that_is_trusted,
    skipped_keys_are_kept_until_they_are_used,
]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda check: check.__name__)
def test_it_holds(guarantee: Callable[[], None]) -> None:
    guarantee()


# ---- broken variants ------------------------------------------------------------------------------------------------


# What variants do first, before they go wrong; looked up before anything is replaced.
post_quantum_receive = spqr.receive
write_session = SessionShelf._write  # pyright: ignore[reportPrivateUsage]


def keep_after_use(chain: ReceivingChain, counter: int) -> tuple[Any, ReceivingChain]:
    if counter not in chain.skipped:
        raise DuplicateMessageError(counter=counter, chain_index=chain.next_counter)
    return chain.skipped[counter], chain


def pop_in_place(chain: ReceivingChain, counter: int) -> tuple[Any, ReceivingChain]:
    skipped = chain.skipped
    assert isinstance(skipped, dict)
    if counter not in skipped:
        raise DuplicateMessageError(counter=counter, chain_index=chain.next_counter)
    return skipped.pop(counter), chain


def without_post_quantum_key(seed: MessageSeed, pq_key: bytes | None) -> MessageKeys:
    return message_keys(seed, None)


def agrees_on_nothing(agreement: Agreement, **_: object) -> tuple[Agreement, None]:
    """What an implementation does that has the symmetric half only."""
    return Agreement(State.NO_HEADER_RECEIVED, agreement.epoch, agreement.authenticator), None


def send_without_post_quantum_step(state: RatchetState, *, random_bytes: RandomBytes, kem: spqr.Kem) -> Sent:
    sent = send(state, random_bytes=random_bytes, kem=kem)
    return sent._replace(state=sent.state._replace(spqr=state.spqr))


def receive_without_post_quantum_step(state: RatchetState, header: Header, **options: Any) -> Received:  # of `receive`
    received = receive(state, header, **options)
    return received._replace(state=received.state._replace(spqr=state.spqr))


def keep_post_quantum_key(chain: spqr_chain.ReceivingChain, index: int) -> tuple[spqr_chain.ReceivingChain, bytes]:
    if index not in chain.skipped:
        raise InvalidMessageError("the key was used")
    return chain, chain.skipped[index]


def pop_post_quantum_key_in_place(
    chain: spqr_chain.ReceivingChain, index: int
) -> tuple[spqr_chain.ReceivingChain, bytes]:
    skipped = chain.skipped
    assert isinstance(skipped, dict)
    if index not in skipped:
        raise InvalidMessageError("the key was used")
    return chain, skipped.pop(index)


def receive_without_limit(state: spqr.SpqrState, message: bytes, *, max_jump: int, kem: spqr.Kem) -> spqr.Received:
    return post_quantum_receive(state, message, max_jump=None, kem=kem)


def forget_skipped_keys(session: sessions_of_one.Session) -> dict[bytes, bytes]:
    return {}


def delete_no_row(self: SessionShelf, number: int, before: Any, after: Any) -> None:  # as the method has it
    write_session(self, number, before, after)
    self.save = {key: value for key, value in self.save.items() if value is not None}


def archive_as_it_is(self: SessionShelf) -> None:
    """Without dropping what the session repeats."""
    shelf = self._shelf  # pyright: ignore[reportPrivateUsage]  # what the fault would do
    if shelf.current is not None:
        after = shelf._replace(current=None, archived=(shelf.current, *shelf.archived))
        self._shelf = after  # pyright: ignore[reportPrivateUsage]
        self._write_shelf()  # pyright: ignore[reportPrivateUsage]


BROKEN = [
    Broken(
        "a skipped key is kept after use", "double_ratchet._take_skipped", keep_after_use, a_late_message_opens_once
    ),
    Broken(
        "a skipped key is taken before the MAC is checked",
        "double_ratchet._take_skipped",
        pop_in_place,
        a_refused_message_leaves_nothing_behind,
    ),
    Broken(
        "the post-quantum key is left out",
        "double_ratchet.message_keys",
        without_post_quantum_key,
        a_message_carries_the_key_of_the_post_quantum_ratchet,
    ),
    Broken(
        "the post-quantum ratchet agrees on nothing",
        "spqr.agreement.send",
        agrees_on_nothing,
        a_conversation_agrees_on_post_quantum_secrets,
    ),
    Broken(
        "the post-quantum ratchet is not kept after sending",
        "double_ratchet.send",
        send_without_post_quantum_step,
        a_late_message_opens_once,
    ),
    Broken(
        "the post-quantum ratchet is not kept after receiving",
        "double_ratchet.receive",
        receive_without_post_quantum_step,
        a_conversation_agrees_on_post_quantum_secrets,
    ),
    Broken(
        "a skipped post-quantum key is kept after use",
        "spqr.chain._take_skipped",
        keep_post_quantum_key,
        a_post_quantum_key_is_given_out_once,
    ),
    Broken(
        "a skipped post-quantum key is taken before the MAC is checked",
        "spqr.chain._take_skipped",
        pop_post_quantum_key_in_place,
        a_refused_message_leaves_nothing_behind,
    ),
    Broken("skipped keys are not saved", "sessions.skipped_rows", forget_skipped_keys, a_late_message_opens_once),
    Broken(
        "rows of used keys stay",
        "sessions.SessionShelf._write",
        delete_no_row,
        skipped_keys_are_kept_until_they_are_used,
    ),
    Broken(
        "the post-quantum ratchet may jump without a limit",
        "double_ratchet.spqr.receive",
        receive_without_limit,
        a_jump_of_the_post_quantum_ratchet_is_bounded,
    ),
    Broken(
        "trials have no limit",
        "sessions.MAX_TRIAL_STEPS",
        10**9,
        what_a_forged_message_costs_over_all_sessions_is_bounded,
    ),
    Broken(
        "receiving chains are kept without a limit",
        "double_ratchet.MAX_RECEIVING_CHAINS",
        100,
        a_session_keeps_five_receiving_chains,
    ),
    Broken(
        "sessions are archived without a limit", "sessions.MAX_ARCHIVED_SESSIONS", 100, archived_sessions_are_bounded
    ),
    Broken(
        "the identity of a session is not compared",
        "device.Device._check_trusted",
        no_check,
        a_repeated_first_message_is_of_the_identity_that_is_trusted,
    ),
    Broken(
        "an archived session repeats its first message",
        "sessions.SessionShelf.archive",
        archive_as_it_is,
        an_archived_session_repeats_nothing,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_variant_is_caught(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"whisperkit.ratchet.{broken.target}", broken.value)

    with pytest.raises((AssertionError, PeerError, ActionRequiredError, CorruptStateError)):
        broken.caught_by()
