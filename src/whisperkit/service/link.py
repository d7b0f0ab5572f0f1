"""One connection of one device, as the gateway sees it: frames in, frames out, nothing that waits.

`receive` decodes, checks and hands over; what needs the store is queued, requests one after the other. What goes
out is gathered and written once per turn. The window bounds what is on its way; a device that is slow is read
for from the store as it acknowledges, and only a socket that takes nothing at all is closed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from whisperkit.errors import PeerError
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.service.frame_counts import FrameCounts
from whisperkit.service.hook import Hook
from whisperkit.service.outlet import Outlet
from whisperkit.service.window import Delivery, DeliveryWindow
from whisperkit.sync import frames
from whisperkit.sync.codec import EncodedFrame
from whisperkit.sync.connection import ConnectionState, ServerConnection
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import BY_TYPE, ByeCode, Frame

__all__ = ["DeviceLink", "LinkOwner"]

log = logging.getLogger("whisperkit.service")


class LinkOwner(Protocol):
    """What a link asks of the service."""

    def flush_soon(self, link: DeviceLink) -> None:
        """Call `flush` at the end of this turn."""

    def read_on(self, link: DeviceLink) -> None:
        """Read entries for the link from the store until its window is full or all is sent."""

    def handle(self, link: DeviceLink, frame: Frame) -> None:
        """A frame of an established link came that does not wait."""

    async def answer(self, link: DeviceLink, frame: Frame) -> None:
        """A frame came that needs the store; those of one link are answered one after the other."""

    def spawn_requests(self, link: DeviceLink) -> None:
        """Run `serve_requests`."""

    def closed(self, link: DeviceLink) -> None:
        """The link has ended."""


# These are answered at once or go into the turn; all others wait for the store.
_AT_ONCE = (frames.Send, frames.Ack, frames.Beat, frames.Typing, frames.Follow)


class DeviceLink:
    """A connection.

    Args:
        owner: The service.
        outlet: The way out.
        hook: Told what is refused, and how it ends.
        counts: Of the frames.
        trusted: The device, if the application has checked who it is; `None`: HELLO has to prove it.
        nonce: Of the challenge, 32 bytes.
        max_requests: Requests that may wait.
        now: When it was opened.
        speaks_json: The form of the challenge.

    Attributes:
        device: Whose link it is; there from HELLO on, and nobody asks before.
    """

    device: DeviceId

    def __init__(
        self,
        owner: LinkOwner,
        outlet: Outlet,
        *,
        hook: Hook,
        counts: FrameCounts,
        trusted: DeviceId | None,
        nonce: bytes,
        max_requests: int,
        now: float,
        speaks_json: bool = False,
    ) -> None:
        self.connection = ServerConnection(speaks_json=speaks_json)
        self.outlet = outlet
        self.trusted = trusted
        self.nonce = nonce
        self.opened_at = now
        self.heard_at = now
        self.online_since_ms = 0
        self.connection_no = 0
        self.token = b""
        self.window: DeliveryWindow | None = None
        self.head_seq = 0
        self.is_reading = False
        self.is_open = True
        self.code: ByeCode | None = None
        self.why = ""
        self.unanswered_sends = 0
        self.unsaved_acks = 0
        self.floor_seq = 0
        self.follows: frozenset[ConversationId] = frozenset()
        self.watches: frozenset[UserId] = frozenset()
        self._owner = owner
        self._hook = hook
        self._counts = counts
        if trusted is not None:
            self.identify(trusted)
        self._out: list[Frame | EncodedFrame] = []
        self._requests: deque[Frame] = deque()
        self._is_serving = False
        self._max_requests = max_requests

    @property
    def who(self) -> DeviceId | None:
        """Whose link it is; `None` while that is not certain."""
        return getattr(self, "device", None)

    def identify(self, device: DeviceId) -> None:
        """Say whose link it is."""
        self.device = device

    @property
    def is_known(self) -> bool:
        """Whether HELLO was accepted."""
        return self.window is not None

    # ---- in ----

    def receive(self, data: bytes | str) -> None:
        """Take a message of the device. Never waits; whatever is wrong with it ends the link with a clear code."""
        if not self.is_open:
            return
        try:
            came = self.connection.receive(data)
        except PeerError as error:
            self.refuse(error)
            return
        self._counts.came(came)
        for frame in came:
            self._dispatch(frame)

    def _dispatch(self, frame: Frame) -> None:
        if self.window is not None and isinstance(frame, _AT_ONCE):
            try:
                self._owner.handle(self, frame)
            except PeerError as error:
                self.refuse(error)
            return
        self.enqueue(frame)

    def enqueue(self, frame: Frame) -> None:
        """Let a frame wait until those before it are answered."""
        if len(self._requests) >= self._max_requests:
            self.bye(ByeCode.TRY_LATER, retry_after_s=5, why="too-many-requests")
            return
        self._requests.append(frame)
        if not self._is_serving:
            self._is_serving = True
            self._owner.spawn_requests(self)

    async def serve_requests(self) -> None:
        """Answer what waits, in order, until nothing does."""
        while self._requests and self.is_open:
            frame = self._requests.popleft()
            try:
                await self._owner.answer(self, frame)
                if isinstance(frame, frames.Hello):
                    self._dispatch_waiting()
            except PeerError as error:
                self.refuse(error)
            except Exception:
                # A store that is away raises what it likes. It must not leave this task: that would end the gateway.
                log.exception("request failed", extra={"device": self.who, "frame": BY_TYPE[type(frame)].name})
                self.bye(ByeCode.TRY_LATER, retry_after_s=5, why="request-failed")
        self._is_serving = False

    def _dispatch_waiting(self) -> None:
        """HELLO is answered: what came meanwhile and need not wait goes now, before what comes next overtakes it."""
        waiting, self._requests = self._requests, deque()
        for frame in waiting:
            if self.is_open:
                self._dispatch(frame)

    def refuse(self, error: PeerError) -> None:
        """End the link for what the device sent."""
        self._hook.refused(error.code)
        self.bye(ByeCode.UNAUTHORISED if error.code == "wire.unauthorised" else ByeCode.PROTOCOL, why=error.code)

    # ---- out ----

    def send(self, frame: Frame | EncodedFrame) -> None:
        """Send a frame at the end of this turn."""
        if not self.is_open:
            return
        if not self._out:
            self._owner.flush_soon(self)
        self._out.append(frame)

    def flush(self) -> None:
        """Write what was gathered."""
        out, self._out = self._out, []
        if out and self.is_open:
            self._write(out)

    def _write(self, out: Sequence[Frame | EncodedFrame]) -> None:
        for message in self.connection.encode(out):
            self.outlet.write(message if isinstance(message, bytes) else message.encode())
        self._counts.left(out)

    def bye(self, code: ByeCode, *, why: str, retry_after_s: int | None = None) -> None:
        """End the link. `why` is one word for the log, which tells more than the code."""
        if not self.is_open:
            return
        if self.connection.state is not ConnectionState.CLOSED:
            out, self._out = self._out, []
            try:
                self._write([*out, frames.Bye(code, retry_after_s)])
            except Exception:
                # What was gathered has no place any more, for instance before HELLO: the code says it all. Or the
                # connection is gone, which each framework says in an error of its own.
                self.connection.close()
        try:
            self.outlet.end(code)
        except Exception:
            log.info("connection not closed", extra={"device": self.who}, exc_info=True)
        self.end(code, why=why)

    def end(self, code: ByeCode | None = None, *, why: str = "gone") -> None:
        """The connection is gone, or, with the code that its device was told, given up."""
        if not self.is_open:
            return
        self.is_open = False
        self.code, self.why = code, why
        self.connection.close()
        self._requests.clear()
        self._hook.link_closed(code)
        self._owner.closed(self)

    # ---- entries ----

    def begin(self, window: DeliveryWindow, head_seq: int) -> None:
        """The device is known and stands at the window's cursor."""
        self.window = window
        self.head_seq = max(self.head_seq, head_seq)

    def offer(self, delivery: Delivery) -> None:
        """Send an entry if it is the next one and there is room; otherwise remember that there is news."""
        self.head_seq = max(self.head_seq, delivery.seq)
        window = self.window
        if window is None or self.is_reading:
            return
        if window.take(delivery):
            self.send(delivery.frame)
        else:
            self.read_on()

    def hear(self, head: int) -> None:
        """Remember that the inbox has come so far."""
        self.head_seq = max(self.head_seq, head)
        self.read_on()

    def read_on(self) -> None:
        """Have entries read from the store, if any are owed and there is room."""
        window = self.window
        if window is None or self.is_reading or not self.is_open:
            return
        if self.head_seq > window.sent_seq and window.room > 0:
            self.is_reading = True
            self._owner.read_on(self)

    def acknowledge(self, cursor: Cursor) -> Sequence[Delivery]:
        """Take an ACK; one that does not fit ends the link, and the next HELLO tells how it stands."""
        assert self.window is not None  # ACK is dispatched to known links only
        done = self.window.acknowledge(cursor)
        if done is None:
            self.bye(ByeCode.RESYNC, why="acknowledged-too-much")
            return ()
        self.unsaved_acks += len(done)
        self.read_on()
        return done
