"""Bearer tokens for HTTP: a device proves itself once by its identity key and gets a token for an hour.

    POST /v1/token   {"device": "user.number", "at_ms": ..., "signature": base64}
                     → {"token": "...", "expires_at_ms": ...}

The signature is over a text that only this use has, the device and the time, which must be within two minutes of the
server's; so a proof that was overheard is of no use later. A token is random, lives in memory only, and is
compared by looking its hash up, which tells nobody how far a guess was right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import time
from typing import Final

from examples.net.http import HttpError, Request, Response, Route, json_response
from whisperkit.errors import InvalidSignatureError, MalformedIdError
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet import verify
from whisperkit.service import MessageService

__all__ = ["Tokens", "token_message"]

LIFE_MS: Final = 3_600_000
SKEW_MS: Final = 120_000
MAX_TOKENS: Final = 1_000_000
_MAX_BODY: Final = 1_024


def token_message(device: DeviceId, at_ms: int) -> bytes:
    """What a device signs."""
    return b"whisperkit token 1\x00" + at_ms.to_bytes(8, "big") + device.encode()


class Tokens:
    """Gives tokens out and tells whose they are.

    Args:
        service: Where identity keys are known.
    """

    def __init__(self, service: MessageService) -> None:
        self._service = service
        self._known: dict[bytes, tuple[UserId, int]] = {}

    @property
    def routes(self) -> list[Route]:
        """``POST /v1/token``."""
        return [Route("POST", "/v1/token", self._give)]

    async def user_of(self, token: str) -> UserId | None:
        """Whose token it is; `None` for nobody's, or one that is over."""
        found = self._known.get(_hash(token))
        return found[0] if found is not None and found[1] > _now_ms() else None

    async def _give(self, request: Request) -> Response:
        device, at_ms, signature = _asked(await request.read(_MAX_BODY))
        now = _now_ms()
        if abs(now - at_ms) > SKEW_MS:
            raise HttpError(401, "wire.unauthorised", f"the proof is of {at_ms}, now is {now}")
        account = await self._service.gateway.people.account(device.user, is_fresh=True)
        listed = account.device(device.number)
        try:
            if listed is None:
                raise InvalidSignatureError("no such device")
            verify(listed.identity_key, token_message(device, at_ms), signature)
        except InvalidSignatureError as error:
            # The same answer for a device that does not exist: it is nobody's business who does.
            raise HttpError(401, "wire.unauthorised", "the proof is not signed by that device's key") from error
        self._forget_old(now)
        token = secrets.token_urlsafe(32)
        self._known[_hash(token)] = device.user, now + LIFE_MS
        return json_response({"token": token, "expires_at_ms": now + LIFE_MS})

    def _forget_old(self, now: int) -> None:
        """Tokens are in the order in which they end."""
        while self._known:
            first = next(iter(self._known))
            if self._known[first][1] > now and len(self._known) < MAX_TOKENS:
                return
            del self._known[first]


def _asked(body: bytes) -> tuple[DeviceId, int, bytes]:
    try:
        asked: dict[str, object] = json.loads(body)
        device, at_ms, signature = str(asked["device"]), asked["at_ms"], str(asked["signature"])
        if type(at_ms) is not int or not 0 <= at_ms < 1 << 53:
            raise ValueError("at_ms")
        return DeviceId.parse(device), at_ms, base64.b64decode(signature, validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error, MalformedIdError) as error:
        form = '{"device": "user.number", "at_ms": milliseconds, "signature": base64}'
        raise HttpError(400, "http.malformed", f"the body is {form}") from error


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
