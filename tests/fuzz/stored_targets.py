"""What lies in a store: each input is read, or found corrupt.

A store is trusted more than a peer, but disks lie, and a restored file may be of another version. The samples are
what three phones and their server have in their stores after a short chat.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final

from tests.fuzz.target import Target
from whisperkit import accounts, blobs, keys
from whisperkit.client.drafts import read_draft
from whisperkit.errors import CorruptStateError, PeerError
from whisperkit.partitions import EVERYTHING, Partition, Row
from whisperkit.ratchet import records, spqr
from whisperkit.service import owners
from whisperkit.stores import MemoryPartitions
from whisperkit.sync import conversation, inbox, mirror_state, roster, rows, window
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sim_phone import ChatNet
from whisperkit.testing.sim_runtime import run_now

__all__ = ["STORED_TARGETS"]

# Those that no chat without attachments, with one device and a gateway that lives has.
_BLOB: Final = blobs.Blob()
_NOTES: Final = owners.Notes(7, 3)
_WINDOW: Final = window.Window()
# Nor one whose prekeys nobody took away.
_TAKEN: Final = (records.Taken(7, 1_800_000_000_000), records.Taken(40, 1_800_500_000_000))


@cache
def _written() -> frozenset[bytes]:
    """All that is in the stores after a chat."""
    net = ChatNet()
    alice, bob, carol = (net.phone(name) for name in ("alice", "bob", "carol"))
    chat, group = alice.direct(bob), alice.group(bob, carol)
    for phone in (alice, bob):
        phone.send(chat, "hello")
        phone.send(group, "hello all")
        net.wait(2.0)
    carol.fly()
    carol.send(group, "from the plane")
    carol.send(carol.direct(bob), "and to you alone")  # waits until there is such a conversation
    bob.send(group, "still here?")
    net.wait(60.0)
    found = set[bytes]()
    for phone in net.phones:
        found |= _values(phone.store, Partition(f"device/{phone.device}"))
        for name in (
            accounts.partition(phone.device.user),
            keys.partition(phone.device),
            inbox.partition(phone.device),
        ):
            found |= _values(net.server.partitions, name)
    for conv in (chat, group):
        found |= _values(net.server.partitions, conversation.partition(conv))
    net.close()
    return frozenset(
        found
        | {records.encode_taken(_TAKEN)}
        | {blobs.encode(_BLOB), owners.OWNERS.encode(_NOTES), window.encode_window(_WINDOW), *_spqr_states()}
    )


def _values(store: MemoryPartitions, partition: Partition) -> set[bytes]:
    head = run_now(store.heads([partition]))[partition]
    return {head.state, *(value for _, value in run_now(store.rows(partition, [EVERYTHING], limit=100_000)))}


def _spqr_states() -> list[bytes]:
    """States along the way of two sides to their third key."""
    random_bytes = seeded_bytes(5)
    sides = [spqr.initial_state(bytes(32), is_initiator=is_initiator) for is_initiator in (True, False)]
    found: list[bytes] = []
    for turn in range(200):
        sent = spqr.send(sides[turn % 2], random_bytes=random_bytes)
        sides[turn % 2] = sent.state
        sides[1 - turn % 2] = spqr.receive(sides[1 - turn % 2], sent.message).state
        if turn % 9 == 0:
            found += map(spqr.encode, sides)
    return found


def _take_spqr(data: bytes) -> None:
    state = spqr.decode(data)
    assert spqr.decode(spqr.encode(state)) == state
    with suppress(PeerError):
        spqr.receive(state, b"", max_jump=10)
    spqr.send(state, random_bytes=seeded_bytes(6))


def _stored(name: str, decode: Callable[[bytes], object], encode: Callable[..., bytes] | None = None) -> Target:
    """A target whose samples are those that it takes of all that was written."""

    @cache
    def samples() -> list[bytes]:
        found: list[bytes] = []
        for data in sorted(_written()):
            with suppress(CorruptStateError):
                decode(data)
                found.append(data)
        return found

    def take(data: bytes) -> None:
        value = decode(data)
        if encode is not None:
            assert decode(encode(value)) == value

    return Target(name, take, lambda rng: rng.choice(samples()), (CorruptStateError,))


STORED_TARGETS: Final = (
    _stored("account", accounts.decode, accounts.encode),
    _stored("membership", accounts.decode_membership, accounts.encode_membership),
    _stored("blob", blobs.decode, blobs.encode),
    _stored("keys", keys.decode, keys.encode),
    _stored("conversation", conversation.decode, conversation.encode),
    _stored("inbox", inbox.decode, inbox.encode),
    _stored("inbox-entry", inbox.decode_value),
    _stored("last-seq", inbox.decode_last_seq, inbox.encode_last_seq),
    _stored("mirror", mirror_state.decode_mirror, mirror_state.encode_mirror),
    _stored("member", roster.decode_intervals, roster.encode_intervals),
    _stored("row", rows.decode_row, rows.encode_row),
    _stored("owner", owners.OWNERS.decode, owners.OWNERS.encode),
    _stored("window", window.decode_window, window.encode_window),
    _stored("draft", lambda data: read_draft(Row(b"q/" + bytes(8), data))),
    _stored("identity", records.decode_local_identity, records.encode_local_identity),
    _stored("peer", records.decode_peer, records.encode_peer),
    _stored("one-time-prekey", records.decode_one_time_prekey, records.encode_one_time_prekey),
    _stored("signed-prekey", records.decode_signed_prekey, records.encode_signed_prekey),
    _stored("kyber-prekey", records.decode_kyber_prekey, records.encode_kyber_prekey),
    _stored("taken-prekeys", records.decode_taken, records.encode_taken),
    _stored("shelf", records.decode_shelf, records.encode_shelf),
    _stored("session", lambda data: records.decode_session(data, lambda _: None)),
    _stored("skipped-keys", records.decode_skipped, records.encode_skipped),
    _stored("sender-keys", records.decode_sender_keys, records.encode_sender_keys),
    _stored("spqr-state", _take_spqr),
)
