"""The sparse post-quantum ratchet (SPQR V1): a key per message that a quantum computer does not break.

Both sides agree on a new secret every forty round trips or so, by ML-KEM-768 whose keys and ciphertexts
travel in pieces of 32 bytes, one in each message. A state is a frozen value: `send` and `receive` return
the next one, and whoever drops that has undone the call.
"""

from whisperkit.ratchet.spqr.agreement import SHAPES, TRANSITIONS, Event, Shape, State
from whisperkit.ratchet.spqr.chain import MAX_JUMP, MAX_SKIPPED_KEYS, MAX_SKIPPED_SPAN
from whisperkit.ratchet.spqr.kem import ML_KEM_768, Kem, KemKeys
from whisperkit.ratchet.spqr.protocol import Received, Sent, SpqrState, initial_state, jump, receive, send
from whisperkit.ratchet.spqr.storage import (
    MAX_ENCODED_BYTES,
    MAX_HEAD_BYTES,
    MAX_OPEN_EPOCHS,
    MAX_SKIPPED_BYTES,
    decode,
    decode_head,
    encode,
    encode_head,
    encode_skipped,
    skipped_keys,
)

__all__ = [
    "MAX_ENCODED_BYTES",
    "MAX_HEAD_BYTES",
    "MAX_JUMP",
    "MAX_OPEN_EPOCHS",
    "MAX_SKIPPED_BYTES",
    "MAX_SKIPPED_KEYS",
    "MAX_SKIPPED_SPAN",
    "ML_KEM_768",
    "SHAPES",
    "TRANSITIONS",
    "Event",
    "Kem",
    "KemKeys",
    "Received",
    "Sent",
    "Shape",
    "SpqrState",
    "State",
    "decode",
    "decode_head",
    "encode",
    "encode_head",
    "encode_skipped",
    "initial_state",
    "jump",
    "receive",
    "send",
    "skipped_keys",
]
