"""The sessions with one device: a current one to send in, and archived ones in which messages may still come.

Two devices that write to each other at the same moment make two sessions. No tie is broken: each message
that opens in an archived session makes that one current, and the two sides meet as soon as one answers the
other in order.

A `SessionShelf` is a working copy over loaded records. It collects what would have to be saved; an operation
that fails drops it, and with it every trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from whisperkit.errors import CorruptStateError, DuplicateMessageError, PeerError, UsageError
from whisperkit.ids import DeviceId
from whisperkit.ratchet.curve import PublicKey, RandomBytes
from whisperkit.ratchet.double_ratchet import MAX_FORWARD_JUMP, has_chain
from whisperkit.ratchet.messages import SignalMessage
from whisperkit.ratchet.records import (
    MAX_SESSION_BYTES,
    MAX_SHELF_BYTES,
    MAX_SKIPPED_ROWS_BYTES,
    Shelf,
    decode_session,
    decode_shelf,
    encode_session,
    encode_shelf,
    encode_skipped,
    session_key,
    session_prefix,
    skipped_rows,
)
from whisperkit.ratchet.remembered import RememberedSessions
from whisperkit.ratchet.session import Decrypted, Session, decrypt, steps

__all__ = ["MAX_ARCHIVED_SESSIONS", "MAX_SESSIONS_BYTES", "MAX_TRIAL_STEPS", "SessionShelf"]

# Each first message makes a session, so this and the current one is what a peer can make us hold. The number is
# the official one.
MAX_ARCHIVED_SESSIONS: Final = 40

# What the rows of all sessions with one device can come to: 23 MiB, nearly all of it skipped keys. Who wants us to hold
# that spends 41 first messages and then jumps in every chain; what a friend's device leaves is a few KiB.
MAX_SESSIONS_BYTES: Final = MAX_SHELF_BYTES + (1 + MAX_ARCHIVED_SESSIONS) * (MAX_SESSION_BYTES + MAX_SKIPPED_ROWS_BYTES)

# How many keys the trials in all sessions but the first may derive for one message: a second of hashing. Without it
# a forged header could cost 41 times the two jumps that one session allows, ten seconds. An honest message needs all
# of it if the 2,500 before it were lost, it is the first under its ratchet key, and 40 sessions stand before its own.
MAX_TRIAL_STEPS: Final = 8 * MAX_FORWARD_JUMP


class SessionShelf:
    """A working copy of the sessions with one device.

    Args:
        records: The loaded records; not changed.
        remote: The device.
        remembered: Sessions that need not be read again if the records have them; filled on the way.

    Attributes:
        save: What to write so that the changes last; `None` deletes.
    """

    def __init__(
        self, records: Mapping[bytes, bytes], remote: DeviceId, remembered: RememberedSessions | None = None
    ) -> None:
        self._records = records
        self._remote = remote
        self._prefix = session_prefix(remote)
        self._remembered = RememberedSessions() if remembered is None else remembered
        listed = records.get(self._prefix)
        self._shelf = decode_shelf(listed) if listed is not None else Shelf()
        self._loaded: dict[int, Session] = {}
        self.save: dict[bytes, bytes | None] = {}

    @property
    def current(self) -> Session | None:
        """The session to send in, or `None`."""
        return None if self._shelf.current is None else self.load(self._shelf.current)

    def __iter__(self) -> Iterator[int]:
        """The numbers of all sessions: the current one first, then the archived ones, newest first."""
        if self._shelf.current is not None:
            yield self._shelf.current
        yield from self._shelf.archived

    def load(self, number: int) -> Session:
        """Read one session.

        Raises:
            CorruptStateError: It is listed but not there, or not readable.
        """
        if number not in self._loaded:
            self._loaded[number] = self._read(number)
        return self._loaded[number]

    def find(self, base_key: PublicKey) -> int | None:
        """The number of the session that was made with a base key; `None` if there is none."""
        return next((number for number in self if self.load(number).base_key == base_key), None)

    def decrypt(self, message: SignalMessage, *, random_bytes: RandomBytes) -> tuple[int, Decrypted] | None:
        """Decrypt a message in the session that it belongs to; nothing is kept of it yet.

        Returns:
            The number of the session, and what came out; `None` if there is no session at all.

        Raises:
            DuplicateMessageError: It was decrypted before, or its key was given up.
            PeerError: It opens in no session. It is the first one's reason that is raised, and a note says which
                message it was and how many were tried.
        """
        reason, tried, left = None, 0, MAX_TRIAL_STEPS
        for number in self:
            session = self.load(number)
            if reason is not None:
                needed = steps(session, message)
                if needed > left:
                    continue
                left -= needed
            try:
                return number, decrypt(session, message, random_bytes=random_bytes)
            except DuplicateMessageError:
                raise
            except PeerError as error:
                reason, tried = reason or error, tried + 1
            # A ratchet key belongs to one session, and the key of this chain did not fit.
            if has_chain(session.ratchet, message.ratchet_key):
                break
        if reason is None:
            return None
        reason.add_note(
            f"message {message.counter} from {self._remote} did not open; sessions that were tried: {tried}"
        )
        raise reason

    def start(self, session: Session) -> None:
        """Make a new session the current one; the former one is archived."""
        self.archive()
        number = self._shelf.next_number
        self._shelf = self._shelf._replace(current=number, next_number=number + 1)
        self._write_shelf()
        self._write(number, None, session)

    def advance(self, number: int, session: Session) -> None:
        """Keep a session as it is after a message, and make it the current one."""
        if number != self._shelf.current:
            remaining = tuple(each for each in self._shelf.archived if each != number)
            self._shelf = self._shelf._replace(archived=remaining)
            self.archive()
            self._shelf = self._shelf._replace(current=number)
            self._write_shelf()
        self._write(number, self.load(number), session)

    def replace_current(self, session: Session) -> None:
        """Keep the current session as it is after a message was sent in it.

        Raises:
            UsageError: There is no current session.
        """
        number = self._shelf.current
        if number is None:
            raise UsageError("there is no current session to replace")
        self._write(number, self.load(number), session)

    def archive(self) -> None:
        """Put the current session aside, if there is one; the oldest one beyond the limit is deleted.

        What it repeated until it was answered is dropped: if it becomes current again, then because the
        peer was heard in it.
        """
        number = self._shelf.current
        if number is None:
            return
        session = self.load(number)
        if session.pending is not None:
            self._write(number, session, session._replace(pending=None))
        archived = (number, *self._shelf.archived)
        for evicted in archived[MAX_ARCHIVED_SESSIONS:]:
            self._delete(evicted)
        self._shelf = self._shelf._replace(current=None, archived=archived[:MAX_ARCHIVED_SESSIONS])
        self._write_shelf()

    def _read(self, number: int) -> Session:
        key = session_key(self._remote, number)
        if key not in self._records:
            raise CorruptStateError(kind="session", reason=f"session {number} is listed but not there")
        found = self._remembered.find(key, self._records)
        if found is None:
            found = decode_session(self._records[key], lambda suffix: self._records.get(key + suffix))
            rows = (key, *(key + suffix for suffix in skipped_rows(found)))
            self._remembered.keep(key, found, {row: self._records[row] for row in rows})
        return found

    def _write(self, number: int, before: Session | None, after: Session) -> None:
        key = session_key(self._remote, number)
        rows = {key: encode_session(after)}
        old, new = skipped_rows(before) if before else {}, skipped_rows(after)
        for suffix in old.keys() - new.keys():
            self.save[key + suffix] = None
        for suffix, skipped in new.items():
            row = key + suffix
            if skipped is not old.get(suffix):
                self.save[row] = encode_skipped(skipped)
            rows[row] = self.save.get(row) or self._records[row]
        self.save[key] = rows[key]
        self._loaded[number] = after
        self._remembered.keep(key, after, rows)

    def _delete(self, number: int) -> None:
        key = session_key(self._remote, number)
        self.save[key] = None
        for suffix in skipped_rows(self.load(number)):
            self.save[key + suffix] = None
        self._remembered.forget(key)

    def _write_shelf(self) -> None:
        self.save[self._prefix] = encode_shelf(self._shelf)
