"""What is logged while people talk, down to DEBUG, tells ids and counts: no key, no plaintext, nothing that was sealed.

The talk goes wrong in many ways, for what is logged is mostly that: lost commits, a server that dies, frames that are
none, a message that opens nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from whisperkit.sync import frames
from whisperkit.testing.faulty import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone

TEXTS = ["meet me at the old mill", "bring the blue notebook", "nobody must know of this", "and burn it afterwards"]


class Everything(logging.Handler):
    """Keeps each record as the most talkative formatter would write it: text, extras, exception with its notes."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{logging.Formatter().format(record)} {vars(record)}")


@pytest.fixture
def heard() -> Iterator[list[str]]:
    handler = Everything()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.setLevel(level)
    root.removeHandler(handler)


def keys_in(value: Any) -> Iterator[bytes]:  # any tree of msgpack
    """All that is as long as a private key, a seed or a link of a chain, at any depth."""
    match value:
        case bytes() if len(value) in (32, 64):
            yield value
        case [*children]:
            for child in children:
                yield from keys_in(child)
        case _:
            pass


def secrets_of(phone: SimPhone) -> set[bytes]:
    """What the records of the ratchet hold; public keys have a byte more and do not count."""
    values = [value for key, value in phone.rows().items() if key.startswith(b"k/") and value[:1] > b"\x90"]
    return {secret for value in values for secret in keys_in(msgpack.unpackb(value))}


def forms_of(secret: bytes) -> list[str]:
    return [secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1]]


def test_no_secret_is_logged(net: ChatNet, heard: list[str]) -> None:
    alice, bob, carol = (net.phone(name) for name in ("alice", "bob", "carol"))
    secrets = secrets_of(alice) | secrets_of(bob)
    chat, group = alice.direct(bob), alice.group(bob, carol)
    sent = [alice.send(chat, TEXTS[0])]
    net.until(lambda: bob.texts(chat) == TEXTS[:1])
    bob.fates.arm("commit", Fault.UNKNOWN_BEFORE)
    alice.fates.arm("commit", Fault.UNKNOWN_AFTER)
    bob.send(chat, TEXTS[1])
    alice.send(group, TEXTS[2])
    net.until(lambda: carol.texts(group) == TEXTS[2:3] and len(alice.texts(chat)) == 2)
    net.server.crash()
    net.server.start()
    secrets |= secrets_of(alice) | secrets_of(bob) | secrets_of(carol)
    bob.edit(lambda rows: {key: None for key in rows if key.startswith(b"k/session/")})
    sent.append(alice.send(chat, TEXTS[3]))
    net.until(lambda: TEXTS[3] in bob.texts(chat))
    assert bob.link is not None
    bob.link.forge(frames.Beat())
    net.wait(100.0)
    secrets |= secrets_of(alice) | secrets_of(bob)
    logged = "\n".join(heard)

    assert heard
    assert len(secrets) > 100
    assert [text for text in TEXTS if text in logged] == []
    assert not [form for secret in secrets for form in forms_of(secret) if form in logged]


def test_what_looks_for_secrets_finds_them(heard: list[str]) -> None:
    secret = bytes(range(32))
    log = logging.getLogger("whisperkit.careless")

    log.debug("opened with %s", secret.hex())
    log.info("opened", extra={"what": secret})

    assert sum(any(form in line for form in forms_of(secret)) for line in heard) == 2
