"""What can be typed about devices: safety numbers, what follows when one changes, and this user's own devices."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from examples.chat.names import Names
from examples.chat.screen import Screen
from examples.chat.wanted import number_of, one_of
from whisperkit.client import Client
from whisperkit.errors import NoSessionError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import SafetyNumber

__all__ = ["Trust", "invitation"]

DIGITS: Final = 60
# Number of the device, registration id, public identity key.
_INVITATION_BYTES: Final = 1 + 4 + 33


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
        digits = "".join(text.split())
        if digits and not (digits.isdecimal() and len(digits) == DIGITS):
            raise ValueError(f"a safety number has {DIGITS} digits, that were {len(digits)} characters")
        numbers = await self._safety_numbers()
        if not digits:
            for name, number in numbers:
                groups = " ".join(number.digits[n : n + 5] for n in range(0, DIGITS, 5))
                mark = ", ✔ verified" if await self._client.is_verified(number.device) else ""
                self._say(f"safety number with {name}{mark}: {groups}")
            return
        same = [(name, number) for name, number in numbers if number.digits == digits]
        for name, number in same:
            await self._client.mark_verified(number)
            self._say(f"✔ the same: {name} is verified")
        if not same:
            self._say("✗ not the same: it was mistyped, or somebody is in between. Do not trust this conversation")

    async def _safety_numbers(self) -> list[tuple[str, SafetyNumber]]:
        """One for each device of those who are here, but this user's own."""
        conv = self._screen.opened()
        other = await self._screen.other_in(conv)
        users = [other] if other is not None else [u for u in await self._screen.members() if u != self._own]
        devices = await self._client.devices_of(users)
        found: list[tuple[str, SafetyNumber]] = []
        for device in devices:
            is_only = sum(one.user == device.user for one in devices) == 1
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
        changed = [event for device, event in self._screen.changed.items() if device.user == user]
        if not changed:
            raise ValueError(f"no new safety number of {text} was told of")
        for event in changed:
            await self._client.accept_identity(event.device, event.identity_key)
            del self._screen.changed[event.device]
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
