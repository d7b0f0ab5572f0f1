"""The glossary has the words of the field beside ours, for whoever comes from elsewhere and looks for those."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = dict(re.findall(r"^(\S[^\n]*)\n   ([^\n]+)", TEXT.partition(":sorted:\n")[2], re.MULTILINE))

# Ours, and what the same is called in Signal, Matrix, XMPP, Centrifugo, Ably, Stream, WhatsApp or Django Channels.
SYNONYMS = [
    ("Device", ["DeviceId", "ProtocolAddress", "Matrix", "full JID"]),
    ("Prekey", ["PreKeyBundle", "process_bundle", "Signal"]),
    ("Session", ["CiphertextMessage", "Signal", "Olm session"]),
    ("Sender key", ["SenderKeyDistributionMessage", "Signal", "Megolm session"]),
    ("Safety number", ["SafetyNumber", "fingerprint"]),
    ("Cursor", ["stream position", "sync token", "RSM id", "channel serial"]),
    ("Tick", ["MessageStatus", "message status", "XEP-0184", "XEP-0333"]),
    ("Hint", ["Push", "group_send"]),
    ("Entry", ["Message"]),
    ("Conversation", ["Room", "channel"]),
    ("Mark", ["Watermark"]),
]


@pytest.mark.parametrize(("term", "words"), SYNONYMS, ids=[term for term, _ in SYNONYMS])
def test_a_term_stands_there_with_what_the_field_calls_it(term: str, words: list[str]) -> None:
    assert [word for word in words if word not in TERMS[term]] == []


def test_a_term_is_explained_once() -> None:
    found = re.findall(r"^(\S[^\n]*)\n   ", TEXT.partition(":sorted:\n")[2], re.MULTILINE)

    assert sorted(found) == sorted(set(found))


def test_a_term_that_another_one_leads_to_is_there() -> None:
    named = set(re.findall(r"\{term\}`([^`]+)`", TEXT))

    assert named - {term.lower() for term in TERMS} - set(TERMS) == set()
