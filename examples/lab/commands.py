"""What the page may ask for, each checked and done. Whatever else comes is answered with a sentence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from examples.lab.bubbles import Json
from examples.lab.fates import LATENCY_S, LOSSES, Fate
from examples.lab.lab import Lab, LabError
from examples.lab.phones import LABELS, NAMES, LabPhone, UntrustedError
from examples.lab.server import LookError
from whisperkit.errors import WhisperError

__all__ = ["Commands"]

log = logging.getLogger("examples.lab")

MAX_HISTORY: Final = 500
_WAYS: Final = ("up", "down")


class WrongCommandError(Exception):
    """The page asked for what there is not."""


class Commands:
    """Does what the page asks for.

    Args:
        lab: The lab.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, Callable[[Mapping[str, Any]], Awaitable[None]]] = {  # Any: whatever JSON holds
            "send": self._send,
            "typing": self._typing,
            "retry": self._retry,
            "discard": self._discard,
            "cancel": self._cancel,
            "seen": self._seen,
            "history": self._history,
            "flight": self._flight,
            "set": self._set,
            "step": self._step,
            "kill": self._kill,
            "verify": self._verify,
            "accept": self._accept,
            "reinstall": self._reinstall,
            "remove": self._remove,
            "add": self._add,
            "run": self._run,
            "lose_next": self._lose_next,
            "double_next": self._double_next,
        }

    async def do(self, asked: object) -> None:
        """Do it, or say why not."""
        try:
            command = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
            work = self._known.get(str(command.get("do")))
            if work is None:
                raise WrongCommandError("the lab knows no such command")
            await work(command)
        except (WrongCommandError, WhisperError, LabError, LookError, UntrustedError) as error:
            self._say(str(error), bad=True)
        except Exception:
            log.exception("a command failed")
            self._say("that did not work; the lab's log says why", bad=True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._lab.tell({"kind": "said", "text": text, "bad": bad})

    def _phone(self, asked: Mapping[str, Any]) -> LabPhone:
        number = asked.get("phone")
        if type(number) is not int or not 0 <= number < len(NAMES):
            raise WrongCommandError("phone is 0 or 1")
        return self._lab.phones[number]

    # ---- messages ----

    async def _send(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        await phone.write(_text(asked, "text"))
        self._lab.recorder.send(LABELS[phone.number])

    async def _typing(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        phone.client.set_typing(phone.conv)

    async def _retry(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        await phone.retry(_text(asked, "id"))
        self._lab.recorder.send(LABELS[phone.number])

    async def _discard(self, asked: Mapping[str, Any]) -> None:
        await self._phone(asked).discard(_text(asked, "id"))

    async def _cancel(self, asked: Mapping[str, Any]) -> None:
        await self._phone(asked).files.cancel(_text(asked, "id"))

    async def _seen(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        if await phone.see(_text(asked, "id")):
            self._lab.recorder.read(LABELS[phone.number])

    async def _history(self, asked: Mapping[str, Any]) -> None:
        count = asked.get("count", 100)
        if type(count) is not int or not 1 <= count <= MAX_HISTORY:
            raise WrongCommandError(f"count is 1 to {MAX_HISTORY}")
        before = asked.get("before")
        if before is not None and not isinstance(before, str):
            raise WrongCommandError("before is the id of a message, or null")
        self._lab.tell(await self._phone(asked).history(before, count))

    # ---- what goes wrong ----

    async def _flight(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        is_on = asked.get("on")
        if not isinstance(is_on, bool):
            raise WrongCommandError("on is true or false")
        await self._lab.fly(phone, is_on=is_on)

    async def _set(self, asked: Mapping[str, Any]) -> None:
        fates, what, to = self._lab.fates, asked.get("what"), asked.get("to")
        match what, to:
            case "lose", int() if type(to) is int and to in LOSSES:
                fates.lose = to
            case "speed", int() if type(to) is int and to in LATENCY_S:
                fates.speed = to
            case "double", bool():
                fates.double = to
            case "reorder", bool():
                fates.reorder = to
            case "slow", bool():
                self._lab.slow(is_on=to)
            case "step", bool():
                self._lab.step_by_step(is_on=to)
            case _:
                raise WrongCommandError("the lab has no such button, or it cannot be so")
        self._lab.tell(self._lab.controls())

    async def _step(self, _: Mapping[str, Any]) -> None:
        if not self._lab.queue.step():
            self._say("nothing waits to be let through")

    async def _kill(self, _: Mapping[str, Any]) -> None:
        pid = await self._lab.server.kill()
        self._say(f"SIGKILL to the server, pid {pid}" if pid else "the server is down already", bad=not pid)

    async def _lose_next(self, asked: Mapping[str, Any]) -> None:
        self._arm(asked, Fate.LOST)

    async def _double_next(self, asked: Mapping[str, Any]) -> None:
        self._arm(asked, Fate.DOUBLED)

    def _arm(self, asked: Mapping[str, Any], fate: Fate) -> None:
        way = asked.get("way")
        if way not in _WAYS:
            raise WrongCommandError("way is up or down")
        self._lab.fates.arm(self._phone(asked).number, way, fate)

    # ---- people ----

    async def _verify(self, asked: Mapping[str, Any]) -> None:
        await self._phone(asked).verify()

    async def _accept(self, asked: Mapping[str, Any]) -> None:
        await self._phone(asked).accept()

    async def _reinstall(self, asked: Mapping[str, Any]) -> None:
        phone = self._phone(asked)
        await self._lab.reinstall(phone)

    async def _remove(self, _: Mapping[str, Any]) -> None:
        await self._lab.change_members(is_in=False)

    async def _add(self, _: Mapping[str, Any]) -> None:
        await self._lab.change_members(is_in=True)

    async def _run(self, _: Mapping[str, Any]) -> None:
        recorder = self._lab.recorder
        told: Json = {"kind": "run", "name": recorder.name, "text": recorder.dump()}
        self._lab.tell(told)


def _text(asked: Mapping[str, Any], name: str) -> str:
    text = asked.get(name)
    if not isinstance(text, str):
        raise WrongCommandError(f"{name} is a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can write half a character
        raise WrongCommandError(f"{name} is no text that can be written down") from error
    return text
