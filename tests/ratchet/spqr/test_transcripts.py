"""Three recorded conversations of the official library, bit for bit.

`tests/vectors/signal` says where they came from. Each gives the random values of both sides, so the messages of the
post-quantum ratchet have to come out as they were sent. Its keys are not in the files; but they are in the MACs of
the messages, which a sender's half of the Double Ratchet, a dozen lines here, is enough to check.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whisperkit.ratchet import spqr
from whisperkit.ratchet.chains import ChainKey, RootKey, message_keys, next_root, step
from whisperkit.ratchet.curve import PublicKey, agree, key_pair
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.spqr.derivation import MessageKey

Event = dict[str, Any]  # an event of a transcript, as JSON has it

VECTORS = Path(__file__).parents[2] / "vectors" / "signal"
NAMES = ("inorder", "lossy", "asymmetric")
PREKEY = 3


def transcript(name: str) -> Event:
    loaded: Event = json.loads((VECTORS / f"transcript_{name}.json").read_text(encoding="utf-8"))
    return loaded


def spec_name(state: spqr.State) -> str:
    return state.name.title().replace("_", "")


class Recording:
    """A `Kem` that plays what was recorded, and randomness that is the recorded ``m``."""

    def __init__(self, inject: Event) -> None:
        self._inject = inject

    def generate(self, *, random_bytes: object) -> spqr.KemKeys:
        pair = self._inject.pop("spqr_keypair")
        return spqr.KemKeys(bytes(64), bytes.fromhex(pair["header"]), bytes.fromhex(pair["ek"]))

    def decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        return bytes.fromhex(self._inject.pop("spqr_decapsulated_secret"))

    def random_bytes(self, size: int) -> bytes:
        m = bytes.fromhex(self._inject.pop("spqr_encaps_m"))
        assert len(m) == size
        return m

    def is_used_up(self) -> bool:
        return not self._inject


class SendingSide:
    """As much of the Double Ratchet as a sender needs for the MACs of its messages."""

    def __init__(self, root_key: RootKey, private: bytes, chain_key: ChainKey) -> None:
        self.root_key = root_key
        self.private = private
        self.chain_key = chain_key

    def turn(self, private: bytes, remote: PublicKey, *, is_first_of_responder: bool) -> None:
        if not is_first_of_responder:
            self.root_key, _ = next_root(self.root_key, agree(key_pair(self.private).private, remote))
        self.private = private
        self.root_key, self.chain_key = next_root(self.root_key, agree(key_pair(private).private, remote))

    def accepts(self, message: SignalMessage, key: MessageKey, sender: PublicKey, receiver: PublicKey) -> bool:
        seed, following = step(self.chain_key)
        message.verify_mac(message_keys(seed, key).mac_key, sender=sender, receiver=receiver)
        self.chain_key = following
        return True


def sent_message(event: Event) -> SignalMessage:
    body = bytes.fromhex(event["bytes"])
    return SignalMessage.decode(PreKeySignalMessage.decode(body).message if event["type"] == PREKEY else body)


def replay(name: str) -> Iterator[tuple[Event, spqr.SpqrState]]:
    """Play a transcript, and give each event with the state after it, which was stored and loaded meanwhile."""
    recorded = transcript(name)
    initial = recorded["alice_initial"]
    identities = {who: PublicKey(bytes.fromhex(recorded[who]["identity_public"])) for who in ("alice", "bob")}
    auth_key = bytes.fromhex(initial["spqr_auth_key"])
    root, chain = RootKey(bytes.fromhex(initial["root_key"])), ChainKey(bytes.fromhex(initial["send_chain_key"]))
    sides = {
        "alice": SendingSide(root, bytes.fromhex(initial["ratchet_private"]), chain),
        "bob": SendingSide(root, b"", chain),
    }
    states = {who: spqr.initial_state(auth_key, is_initiator=who == "alice") for who in sides}
    on_the_way: dict[int, tuple[SignalMessage, MessageKey]] = {}
    for event in recorded["events"]:
        who, other = event["who"], "bob" if event["who"] == "alice" else "alice"
        inject: Event = dict(event["inject"])
        ratchet_private = inject.pop("new_ratchet_private", None)
        recording = Recording(inject)
        if event["op"] == "send":
            message = sent_message(event)
            sent = spqr.send(states[who], random_bytes=recording.random_bytes, kem=recording)
            assert sent.message == message.pq_ratchet
            assert sides[who].accepts(message, sent.key, identities[who], identities[other])
            on_the_way[event["id"]] = message, sent.key
            after = sent.state
        else:
            message, key = on_the_way[event["id"]]
            received = spqr.receive(states[who], message.pq_ratchet, kem=recording)
            assert received.key == key
            if ratchet_private is not None:
                sides[who].turn(
                    bytes.fromhex(ratchet_private), message.ratchet_key, is_first_of_responder=not sides[who].private
                )
            after = received.state
        assert recording.is_used_up()
        states[who] = spqr.decode(spqr.encode(after))
        assert states[who] == after
        yield event, after


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_conversation_comes_out_bit_for_bit_though_stored_at_each_event(name: str) -> None:
    for event, state in replay(name):
        assert spec_name(state.state) == event["spqr_state_after"], event["id"]


def test_the_recorded_conversations_visit_every_state() -> None:
    seen = {event["spqr_state_after"] for name in NAMES for event in transcript(name)["events"]}

    assert seen == {spec_name(state) for state in spqr.State}
