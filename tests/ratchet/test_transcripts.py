"""Three recorded conversations of the official library, through sessions of both parties, bit for bit.

`tests/vectors/signal` says where they came from. Each gives the random values of both sides, so every message has
to come out as it was sent, and every one that arrived has to open. Each side lives in records alone: it is loaded
before each event and saved after it, as an application does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet import first_contact, records, session, spqr
from whisperkit.ratchet.addresses import address_of
from whisperkit.ratchet.chains import ChainKey, RootKey
from whisperkit.ratchet.curve import PublicKey, key_pair
from whisperkit.ratchet.double_ratchet import RatchetState, ReceivingChain, SendingChain
from whisperkit.ratchet.kem import key_pair as kem_key_pair
from whisperkit.ratchet.messages import CiphertextMessage, MessageType, PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.prekeys import KyberPreKey, OneTimePreKey, SignedPreKey
from whisperkit.ratchet.records import LocalIdentity
from whisperkit.ratchet.session import Parties, Pending, Session
from whisperkit.ratchet.sessions import SessionShelf

Json = dict[str, Any]  # an object of a transcript

VECTORS = Path(__file__).parents[1] / "vectors" / "signal"
NAMES = ("inorder", "lossy", "asymmetric")


@cache
def transcript(name: str) -> Json:
    loaded: Json = json.loads((VECTORS / f"transcript_{name}.json").read_text(encoding="utf-8"))
    return loaded


class Recording:
    """The random values of one event, each of which has to be asked for once."""

    def __init__(self, inject: Json) -> None:
        self._left = dict(inject)

    def generate(self, *, random_bytes: object) -> spqr.KemKeys:
        pair = self._left.pop("spqr_keypair")
        return spqr.KemKeys(bytes(64), bytes.fromhex(pair["header"]), bytes.fromhex(pair["ek"]))

    def decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        return bytes.fromhex(self._left.pop("spqr_decapsulated_secret"))

    def random_bytes(self, size: int) -> bytes:
        name = "new_ratchet_private" if "new_ratchet_private" in self._left else "spqr_encaps_m"
        value = bytes.fromhex(self._left.pop(name))
        assert len(value) == size
        return value

    def is_used_up(self) -> bool:
        return not self._left


class Side:
    """One party: its records, and the sessions that it finds in them."""

    def __init__(self, local: Json, remote: Json) -> None:
        self.local = DeviceId(UserId(local["name"]), local["device_id"])
        self.remote = DeviceId(UserId(remote["name"]), remote["device_id"])
        self.identity = LocalIdentity(
            key_pair(bytes.fromhex(local["identity_private"])), local["registration_id"], next_prekey=100
        )
        self.records: dict[bytes, bytes] = {}

    def shelf(self) -> SessionShelf:
        return SessionShelf(self.records, self.remote)

    def save(self, shelf: SessionShelf) -> None:
        for key, value in shelf.save.items():
            if value is None:
                del self.records[key]
            else:
                self.records[key] = value

    def current(self) -> Session:
        found = self.shelf().current
        assert found is not None
        return found

    def send(self, plaintext: bytes, recording: Recording) -> CiphertextMessage:
        shelf = self.shelf()
        assert shelf.current is not None
        sent = session.encrypt(shelf.current, plaintext, random_bytes=recording.random_bytes, kem=recording)
        shelf.replace_current(sent.session)
        self.save(shelf)
        return sent.message

    def receive(self, message: CiphertextMessage, recording: Recording) -> bytes:
        shelf = self.shelf()
        is_first = message.type is MessageType.PREKEY
        first = PreKeySignalMessage.decode(message.body) if is_first else None
        inner = SignalMessage.decode(first.message if first else message.body)
        begun = shelf.current
        if begun is None:
            assert first is not None
            begun = first_contact.respond(self.records, self.identity, first, local=self.local, remote=self.remote)
        opened = session.decrypt(begun, inner, random_bytes=recording.random_bytes, kem=recording)
        if shelf.current is None:
            shelf.start(opened.session)
        else:
            shelf.advance(0, opened.session)
        self.save(shelf)
        return opened.plaintext


def bob_of(recorded: Json) -> Side:
    """Bob with his prekeys."""
    side = Side(recorded["bob"], recorded["alice"])
    prekeys = recorded["bob_prekeys"]
    signed, kyber, one_time = prekeys["signed_prekey"], prekeys["kyber_prekey"], prekeys["one_time_prekey"]
    signed_pair, one_time_pair = (key_pair(bytes.fromhex(each["private"])) for each in (signed, one_time))
    kyber_pair = kem_key_pair(bytes.fromhex(kyber["fips203_seed"]))
    side.records = {
        records.signed_prekey_key(signed["id"]): records.encode_signed_prekey(
            SignedPreKey(signed["id"], signed_pair, bytes(64), 0)
        ),
        records.kyber_prekey_key(kyber["id"]): records.encode_kyber_prekey(
            KyberPreKey(kyber["id"], kyber_pair, bytes(64), 0, is_last_resort=True)
        ),
        records.one_time_prekey_key(one_time["id"]): records.encode_one_time_prekey(
            OneTimePreKey(one_time["id"], one_time_pair)
        ),
    }
    return side


def alice_of(recorded: Json) -> Side:
    """Alice after she took in the bundle. Her base key and her encapsulation are known by her first message only."""
    side = Side(recorded["alice"], recorded["bob"])
    initial = recorded["alice_initial"]
    first = PreKeySignalMessage.decode(bytes.fromhex(recorded["events"][0]["bytes"]))
    remote_identity = PublicKey(bytes.fromhex(recorded["bob"]["identity_public"]))
    parties = Parties(
        side.identity.pair.public,
        remote_identity,
        side.identity.registration_id,
        recorded["bob"]["registration_id"],
        address_of(side.local),
        address_of(side.remote),
    )
    their_key = PublicKey(bytes.fromhex(initial["their_ratchet_public"]))
    ratchet = RatchetState(
        root_key=RootKey(bytes.fromhex(initial["root_key"])),
        sending=SendingChain(
            key_pair(bytes.fromhex(initial["ratchet_private"])), ChainKey(bytes.fromhex(initial["send_chain_key"])), 0
        ),
        receiving=(ReceivingChain(0, their_key, ChainKey(bytes.fromhex(initial["pqxdh_chain_key"])), 0),),
        previous_counter=0,
        spqr=spqr.initial_state(bytes.fromhex(initial["spqr_auth_key"]), is_initiator=True),
    )
    pending = Pending(
        first.pre_key_id, first.signed_pre_key_id, first.kyber_pre_key_id, first.kyber_ciphertext, made_at_ms=0
    )
    shelf = side.shelf()
    shelf.start(Session(parties, first.base_key, ratchet, pending))
    side.save(shelf)
    return side


def replay(name: str) -> Iterator[tuple[Json, dict[str, Side]]]:
    """Play a transcript, and give each event with the sides after it."""
    recorded = transcript(name)
    sides = {"alice": alice_of(recorded), "bob": bob_of(recorded)}
    sent: dict[int, Json] = {}
    for event in recorded["events"]:
        side, recording = sides[event["who"]], Recording(event["inject"])
        if event["op"] == "send":
            message = side.send(bytes.fromhex(event["plaintext"]), recording)
            assert message == (event["type"], bytes.fromhex(event["bytes"]))
            sent[event["id"]] = event
        else:
            made = sent[event["id"]]
            message = CiphertextMessage(MessageType(made["type"]), bytes.fromhex(made["bytes"]))
            assert side.receive(message, recording) == bytes.fromhex(made["plaintext"])
        assert recording.is_used_up()
        yield event, sides


def spec_name(state: spqr.State) -> str:
    return state.name.title().replace("_", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_conversation_comes_out_bit_for_bit_though_each_side_is_saved_at_each_event(name: str) -> None:
    sides: dict[str, Side] = {}
    for event, sides in replay(name):
        assert spec_name(sides[event["who"]].current().ratchet.spqr.state) == event["spqr_state_after"]

    for who, final in transcript(name)["final"].items():
        ratchet = sides[who].current().ratchet
        assert {
            "root_key": ratchet.root_key.hex(),
            "send_chain_key": ratchet.sending.key.hex(),
            "send_index": ratchet.sending.next_counter,
            "spqr_state": spec_name(ratchet.spqr.state),
        } == final
