"""What can be typed about devices: safety numbers, what follows when one changes, and this user's own devices."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from examples.chat.names import Names
from examples.chat.qr import qr_lines
from examples.chat.screen import Screen
from examples.chat.wanted import number_of, one_of
from whisperkit.client import Client
from whisperkit.errors import NoSessionError
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet import SafetyNumber

__all__ = ["Trust", "invitation"]

DIGITS: Final = 60
_GROUPS_A_LINE: Final = 4
SCANNED_BYTES: Final = 74
# Number of the device, registration id, public identity key.
_INVITATION_BYTES: Final = 1 + 4 + 33


Numbers: TypeAlias = list[tuple[str, SafetyNumber]]
"""Safety numbers, each with what the other device is called."""


class Trust:
    """Does what is typed about devices.

    Args:
        client: The device.
        names: Who is called what.
        screen: Where the answers are shown.
    """

    def __init__(self, client: Client, names: Names, screen: Screen) -> None:
        self._client = client
        self._names = names
        self._screen = screen
        self._say = screen.say
        self._own = client.device.user

    async def verify(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        is_here = not text or "".join(text.split()).isdecimal()
        read = text if is_here else rest.strip()
        is_same = _comparison(read) if read else None
        if is_here:
            numbers = await self._numbers_here()
        else:
            numbers = await self._safety_numbers([self._names.user_of(name)])
        if is_same is not None:
            await self._compare(numbers, is_same)
        elif text:
            for one in numbers:
                await self._show_whole(*one)
        else:
            for one in numbers:
                self._say(f"{await self._title(*one)}: {' '.join(_groups(one[1].digits))}")

    async def _compare(self, numbers: Numbers, is_same: Callable[[SafetyNumber], bool]) -> None:
        """Compare with what was read on the other side: its digits, or the bytes of its code."""
        same = [(name, number) for name, number in numbers if is_same(number)]
        for name, number in same:
            await self._client.mark_verified(number)
            self._say(f"✔ the same: {name} is verified")
        if numbers and not same:
            self._say("✗ not the same: it was mistyped, or somebody is in between. Do not trust this conversation")

    async def _title(self, name: str, number: SafetyNumber) -> str:
        mark = ", ✔ verified" if await self._client.is_verified(number.device) else ""
        return f"safety number with {name}{mark}"

    async def _show_whole(self, name: str, number: SafetyNumber) -> None:
        """The digits as they are read aloud, and the code, if there is room for it."""
        self._say(f"{await self._title(name, number)}:")
        groups = _groups(number.digits)
        for start in range(0, len(groups), _GROUPS_A_LINE):
            self._say(f"  {' '.join(groups[start : start + _GROUPS_A_LINE])}")
        for line in qr_lines(number.scannable, columns=self._screen.columns()):
            self._say(line)

    async def _numbers_here(self) -> Numbers:
        conv = self._screen.opened()
        other = await self._screen.other_in(conv)
        return await self._safety_numbers([other] if other is not None else await self._screen.members())

    async def _safety_numbers(self, users: Sequence[UserId]) -> Numbers:
        """One for each device of these users, but this one; of one's own others only if they are asked for alone."""
        others = [user for user in users if user != self._own] or users
        devices = [device for device in await self._client.devices_of(others) if device != self._client.device]
        found: Numbers = []
        for device in devices:
            is_only = device.user != self._own and sum(one.user == device.user for one in devices) == 1
            name = self._device_name(device, is_only=is_only)
            try:
                found.append((name, await self._client.safety_number(device)))
            except NoSessionError:
                self._say(f"{name}: its key is not here yet; write a message first")
        if not devices:
            self._say("nobody is here yet, so there is nothing to compare")
        return found

    async def accept(self, text: str) -> None:
        user = self._names.user_of(one_of(text, "whom? /accept NAME"))
        undecided = await self._client.undecided(user)
        if not undecided:
            raise ValueError(f"no new safety number of {text} waits to be accepted")
        for event in undecided:
            await self._client.accept_identity(event.device, event.identity_key)
            self._screen.changed.pop(event.device, None)
        self._say(f"the new safety number of {text} is accepted; /verify shows it, to be compared")

    async def link(self, text: str) -> None:
        number, key, registration_id = _invited(one_of(text, "which? /link CODE, as the new device shows it"))
        await self._client.link_device(number, identity_key=key, registration_id=registration_id)
        self._say(f"{self._device_name(DeviceId(self._own, number))} is linked; it is let in within a minute")

    async def devices(self, _: str) -> None:
        for device in await self._client.devices_of([self._own]):
            mine = ", this one" if device == self._client.device else ""
            self._say(f"{self._device_name(device)}{mine}")

    async def unlink(self, text: str) -> None:
        number = number_of(one_of(text, "which? /unlink N"))
        await self._client.unlink_device(number)
        self._say(f"device {number} is out of the account")

    def _device_name(self, device: DeviceId, *, is_only: bool = False) -> str:
        name = self._names.own if device.user == self._own else self._names.name_of(device.user)
        return name if is_only else f"{name}.{device.number}"


def _groups(digits: str) -> list[str]:
    return [digits[n : n + 5] for n in range(0, DIGITS, 5)]


def _comparison(read: str) -> Callable[[SafetyNumber], bool]:
    """How to compare with what was read."""
    text = "".join(read.split())
    if text.isdecimal() and len(text) != 2 * SCANNED_BYTES:
        if len(text) != DIGITS:
            raise ValueError(f"a safety number has {DIGITS} digits, that were {len(text)} characters")
        return lambda number: number.digits == text
    scanned = _bytes_of(text)
    return lambda number: number.matches(scanned)


def _bytes_of(text: str) -> bytes:
    """The bytes of a code, as a scanner prints them: in hexadecimal or in base64."""
    try:
        if len(text) == 2 * SCANNED_BYTES:
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(
            f"that is neither {DIGITS} digits nor the bytes of a code, in base64 or hexadecimal"
        ) from error


async def invitation(client: Client) -> str:
    """What another device of the user needs to link this one: a code to be typed there."""
    key, registration_id = await client.identity()
    data = bytes([client.device.number]) + registration_id.to_bytes(4, "big") + key
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _invited(code: str) -> tuple[int, bytes, int]:
    try:
        data = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("that is no code of a device") from error
    if len(data) != _INVITATION_BYTES:
        raise ValueError("that is no code of a device, or not all of it")
    return data[0], data[5:], int.from_bytes(data[1:5], "big")
