"""What a device remembers of its sessions saves reading them, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.ratchet.guarantees import Broken, friends
from whisperkit.errors import PeerError
from whisperkit.ratchet import Device, records, sessions
from whisperkit.ratchet.remembered import MAX_REMEMBERED, MAX_REMEMBERED_BYTES, RememberedSessions
from whisperkit.ratchet.session import Session
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes

ROW = b"row"


@pytest.fixture
def session() -> Session:
    alice, bob = friends()
    return SessionShelf(alice.records, bob.id).load(0)


def test_a_session_is_found_while_all_its_rows_are_as_they_were(session: Session) -> None:
    remembered = RememberedSessions()
    rows = {ROW: b"1", ROW + b"s": b"2"}
    remembered.keep(ROW, session, rows)

    assert remembered.find(ROW, {**rows, b"other": b"3"}) is session
    assert remembered.find(ROW, {**rows, ROW: b"2"}) is None
    assert remembered.find(ROW, {**rows, ROW + b"s": b""}) is None
    assert remembered.find(ROW, {ROW: b"1"}) is None
    assert remembered.find(b"another", rows) is None


def test_a_session_that_was_forgotten_is_not_found(session: Session) -> None:
    remembered = RememberedSessions()
    remembered.keep(ROW, session, {ROW: b"1"})

    remembered.forget(ROW)
    remembered.forget(ROW)

    assert remembered.find(ROW, {ROW: b"1"}) is None


def test_the_sessions_that_were_used_last_are_kept(session: Session) -> None:
    remembered = RememberedSessions()
    keys = [bytes([n]) for n in range(MAX_REMEMBERED + 1)]
    for key in (*keys[:-1], keys[0], keys[-1]):
        remembered.keep(key, session, {key: b""})

    found = [key for key in keys if remembered.find(key, {key: b""}) is session]

    assert found == [keys[0], *keys[2:]]


def test_a_session_that_skipped_much_is_not_kept(session: Session) -> None:
    remembered = RememberedSessions()
    remembered.keep(ROW, session, {ROW: b"1"})

    remembered.keep(ROW, session, {ROW: b"1", ROW + b"s": bytes(MAX_REMEMBERED_BYTES)})

    assert remembered.find(ROW, {ROW: b"1", ROW + b"s": bytes(MAX_REMEMBERED_BYTES)}) is None


class Lasting(Party):
    """A party whose device goes on from one operation to the next, as in an application."""

    def __init__(self, party: Party) -> None:
        self.id, self.records, self.wall_ms = party.id, party.records, party.wall_ms
        self._lasting = Device(party.id, random_bytes=seeded_bytes(7))

    @property
    def device(self) -> Device:
        return self._lasting


def lasting() -> tuple[Lasting, Lasting]:
    alice, bob = friends()
    return Lasting(alice), Lasting(bob)


def test_a_session_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = lasting()
    read: list[bytes] = []

    def decode(data: bytes, skipped: object) -> Session:
        read.append(data)
        return records.decode_session(data, skipped)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(sessions, "decode_session", decode)
    late = alice.encrypt(b"late", to=bob)
    for _ in range(3):
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
        alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)
    assert bob.decrypt(late, sender=alice) == b"late"

    assert len(read) == 2


# ---- guarantees, and variants that break them -----------------------------------------------------------------------


def what_was_not_saved_did_not_happen() -> None:
    alice, bob = lasting()
    alice.device.encrypt(alice.records, b"lost", remote=bob.id, wall_ms=0)
    message = alice.encrypt(b"x", to=bob)
    bob.device.decrypt(bob.records, message, sender=alice.id, wall_ms=0)
    assert bob.decrypt(message, sender=alice) == b"x"
    assert SessionShelf(bob.records, alice.id).load(0).ratchet.receiving[-1].next_counter == 1


def what_another_process_did_happened() -> None:
    alice, bob = lasting()
    first, second, third = (alice.encrypt(b"%d" % n, to=bob) for n in range(3))
    bob.decrypt(third, sender=alice)
    # The first one is opened, but not saved; another process of the device opens the second one.
    bob.device.decrypt(bob.records, first, sender=alice.id, wall_ms=0)
    other = Device(bob.id, random_bytes=seeded_bytes(8))
    bob.save(other.decrypt(bob.records, second, sender=alice.id, wall_ms=0).save)
    assert bob.decrypt(first, sender=alice) == b"0"


@pytest.mark.parametrize("guarantee", [what_was_not_saved_did_not_happen, what_another_process_did_happened])
def test_it_holds(guarantee: Callable[[], None]) -> None:
    guarantee()


def believe(self: RememberedSessions, key: bytes, records: object) -> Session | None:
    kept = self._kept.get(key)  # pyright: ignore[reportPrivateUsage]  # what the fault would do
    return kept and kept.session


def look_at_one_row(self: RememberedSessions, key: bytes, records: Mapping[bytes, bytes]) -> Session | None:
    kept = self._kept.get(key)  # pyright: ignore[reportPrivateUsage]  # as above
    return kept.session if kept and kept.rows[key] == records[key] else None


BROKEN = [
    Broken(
        "what is remembered is believed",
        "remembered.RememberedSessions.find",
        believe,
        what_was_not_saved_did_not_happen,
    ),
    Broken(
        "the rows of skipped keys are not looked at",
        "remembered.RememberedSessions.find",
        look_at_one_row,
        what_another_process_did_happened,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_variant_is_caught(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"whisperkit.ratchet.{broken.target}", broken.value)

    with pytest.raises((AssertionError, PeerError)):
        broken.caught_by()


def test_a_session_that_was_deleted_is_forgotten() -> None:
    alice, bob = lasting()
    remembered = RememberedSessions()
    shelf = SessionShelf(alice.records, bob.id, remembered)
    key = records.session_key(bob.id, 0)
    shelf.load(0)
    assert remembered.find(key, alice.records) is not None

    for _ in range(42):
        shelf.start(shelf.load(0))

    assert shelf.save[key] is None
    assert remembered.find(key, alice.records) is None
