"""The beginning of a connection, and what is seen to from time to time: registration, prekeys, lists of devices."""

from __future__ import annotations

import logging

from whisperkit.client.people import People
from whisperkit.client.prekeys import PreKeys
from whisperkit.client.reading import Reader
from whisperkit.client.records import Turn
from whisperkit.client.standing import Standing
from whisperkit.errors import ActionRequiredError, StoreError, TransportError
from whisperkit.ids import UserId
from whisperkit.sync import frames, mirror
from whisperkit.sync.connection import challenge_message, register_message

__all__ = ["Greeter"]

log = logging.getLogger("whisperkit.client")


class Greeter:
    """Says who the device is.

    Args:
        standing: What it shares with the rest of the client.
        people: This device's account, and lists of devices.
        prekeys: This device's prekeys.
        reader: Knows the conversations.
        name: What the user is called, for the server's records; of a first device only.
        is_linked: The device belongs to a user who exists.
    """

    def __init__(
        self,
        standing: Standing,
        people: People,
        prekeys: PreKeys,
        reader: Reader,
        *,
        name: str,
        is_linked: bool,
    ) -> None:
        self.watched: tuple[UserId, ...] = ()
        self.beaten_at = 0.0
        self.said_hello_at = float("-inf")
        self.asked_marks_at = 0.0
        self._at = standing
        self._people = people
        self._prekeys = prekeys
        self._reader = reader
        self._name = name
        self._is_linked = is_linked
        self._nonce = b""
        self._is_new = True
        self._is_keeping_up = False

    async def greet(self, challenge: frames.Challenge) -> None:
        """Answer the challenge: with HELLO, or first with REGISTER."""
        self._nonce = challenge.nonce
        if self._is_linked or await self._people.is_registered():
            await self.hello()
            return
        key, registration_id = await self._people.identity()
        message = register_message(
            self._nonce, self._at.device, identity_key=key, registration_id=registration_id, name=self._name
        )
        proof = await self._people.sign(message)
        self.said_hello_at = self._at.runtime.now()
        self._answer(frames.Register(self._at.device, key, registration_id, self._name, proof))

    async def hello(self) -> None:
        """Say who this is and where it stands."""
        if not self._is_linked:
            await self._people.note_registered()
        number = await self._people.next_connection_no()
        proof = await self._people.sign(challenge_message(self._nonce, self._at.device, number))
        followed = [chat.conv for chat in await self._reader.chats() if chat.is_pulled]

        async def attach(_turn: Turn) -> None:
            # Not beside a turn: it would put the mirror of before back.
            detached = mirror.detach(self._at.mirror)
            self._at.mirror = mirror.attach(detached, followed=followed, now=self._at.runtime.now())

        await self._at.records.run(attach)
        self._answer(frames.Hello(frames.PROTOCOL_VERSION, self._at.device, number, self._at.mirror.cursor, proof))
        self.beaten_at = self.said_hello_at = self._at.runtime.now()

    def _answer(self, frame: frames.Register | frames.Hello) -> None:
        """Over the connection that the challenge came over, unless the client was stopped meanwhile."""
        if self._at.session is not None:
            self._at.session.send([frame])

    def welcomed(self) -> None:
        """Begin what needs a connection."""
        self.asked_marks_at = 0.0
        if self.watched:
            self._at.say([frames.Watch(self.watched)])
        self._is_new = True
        self.keep_up()

    def keep_up(self) -> None:
        """Publish prekeys and look at lists of devices, if it is time to."""
        if not self._is_keeping_up:
            self._is_keeping_up = True
            self._at.runtime.spawn(self._keep_up, name="client upkeep")

    async def _keep_up(self) -> None:
        # Prekeys first: without them nothing that is written to this device while it is away can be opened at once.
        for see_to in (self._prekeys.publish, self._look_around):
            try:
                await see_to()
            except (TransportError, ActionRequiredError, StoreError):
                log.info("prekeys not published, or lists not looked at; a minute later, or with the next connection")
        self._is_keeping_up = False
        self._at.wake()

    async def _look_around(self) -> None:
        await self._people.look_around(is_new=self._is_new)
        self._is_new = False
