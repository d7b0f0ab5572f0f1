"""One connection of a client: greeting, frames out in order, requests and their answers.

What comes in is handed to the client as it was read; what must be saved is saved there before anything is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from whisperkit.errors import LinkClosedError, TransportError
from whisperkit.ids import MessageId
from whisperkit.runtime import Mailbox, Runtime, Task
from whisperkit.sync import frames
from whisperkit.sync.connection import ClientConnection, ConnectionState
from whisperkit.sync.frames import Frame
from whisperkit.transport import Link

__all__ = ["ANSWER_S", "Ask", "Session"]

Ask = Callable[[MessageId, Frame], Awaitable[Frame]]
"""Sends a request and waits for its answer."""

# A request without an answer for so long is taken for lost, and the connection with it.
ANSWER_S: Final = 20.0


class Session:
    """A connection that is open.

    Args:
        link: The transport's.
        runtime: Tasks and time.
        take: Called with what each read brought, in order.
    """

    def __init__(self, link: Link, runtime: Runtime, take: Callable[[Sequence[Frame]], Awaitable[None]]) -> None:
        self.connection = ClientConnection()
        self.bye: frames.Bye | None = None
        self.heard_at = runtime.now()
        self._link = link
        self._runtime = runtime
        self._take = take
        self._out: Mailbox[bytes] = runtime.mailbox()
        self._asked: dict[MessageId, Mailbox[Frame | None]] = {}
        self._writer: Task = runtime.spawn(self._write, name="client writer")
        self._is_gone = False

    @property
    def is_established(self) -> bool:
        """Whether HELLO went out and the connection stands."""
        return self.connection.state is ConnectionState.ESTABLISHED and not self._is_gone

    def send(self, out: Sequence[Frame]) -> None:
        """Send frames after those before; without effect once the connection is gone."""
        if not out or self._is_gone or self.connection.state is ConnectionState.CLOSED:
            return
        for message in self.connection.encode(out):
            self._out.put(message if isinstance(message, bytes) else message.encode())

    async def ask(self, request: MessageId, frame: Frame) -> Frame:
        """Send a request and wait for its answer.

        Raises:
            LinkClosedError: The connection went before the answer came.
        """
        if not self.is_established:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)
        box: Mailbox[Frame | None] = self._runtime.mailbox()
        self._asked[request] = box
        self.send([frame])
        answer = await box.get(timeout_s=ANSWER_S)
        self._asked.pop(request, None)
        if answer is None:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)
        return answer

    async def run(self) -> None:
        """Read until the connection is gone.

        Raises:
            TransportError: It is gone.
            PeerError: The server sent what is none of its frames.
        """
        try:
            while True:
                data = await self._link.receive()
                self.heard_at = self._runtime.now()
                came = self.connection.receive(data)
                self._answer(came)
                await self._take(came)
                if self.bye is not None:
                    raise LinkClosedError(reason=self.bye.code.name, retry_after_s=self.bye.retry_after_s)
        finally:
            self.gone()

    def _answer(self, came: Sequence[Frame]) -> None:
        for frame in came:
            if isinstance(frame, frames.Bye):
                self.bye = frame
            request = frame.message_id if isinstance(frame, frames.AsideOk) else getattr(frame, "request", None)
            box = self._asked.get(request) if request is not None else None
            if box is not None:
                box.put(frame)

    def gone(self) -> None:
        """The connection has ended: nobody waits for its answers any more."""
        self._is_gone = True
        self.connection.close()
        for box in self._asked.values():
            box.put(None)
        self._runtime.drop(self._writer)

    async def close(self) -> None:
        """End the connection."""
        self.gone()
        await self._link.close()

    async def _write(self) -> None:
        while True:
            message = await self._out.get()
            if message is None:
                continue
            try:
                await self._link.send(message)
            except TransportError:
                return
