"""What was done in the lab, as a run that the simulator plays again: ``python -m whisperkit.testing replay FILE``.

The simulator has no buttons, but words for most of them. The lab's two are in its group *team*, whose third member says
nothing here. A phone in the air is one that is off, so what is written there is sent when it lands. What the simulator
has no word for is a remark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from examples.lab.fates import Fate
from whisperkit.testing.decisions import Decision, Plan

__all__ = ["GROUP", "Recorder"]

GROUP: Final = "team"
_GATEWAY: Final = "g1"
# In a run that nobody ends, the first decisions go: what was pressed last is what one wants to see again.
MAX_DECISIONS: Final = 20_000


class Recorder:
    """Writes down what happens.

    Args:
        seed: Of the run.
        now: The clock, in seconds.
        most: How many decisions are kept.
    """

    def __init__(self, seed: int, *, now: Callable[[], float], most: int = MAX_DECISIONS) -> None:
        self._seed = seed
        self._most = most
        self._now = now
        self._began = now()
        self._decisions: list[Decision] = []
        self._remarks: list[str] = []
        # What lasts, and since when: flights by phone, and what concerns all.
        self._lasting: dict[tuple[str, str], float] = {}
        self._in_the_air: dict[str, list[Decision]] = {}

    def send(self, phone: str) -> None:
        """A message was written."""
        self._person(phone, "send")

    def read(self, phone: str) -> None:
        """Somebody read what was there."""
        self._person(phone, "read")

    def members(self, phone: str, verb: str, user: str) -> None:
        """Somebody was added or removed."""
        self._person(phone, verb, user)

    def frame(self, phone: str, way: str, fate: Fate) -> None:
        """A frame met its fate."""
        if fate is not Fate.PASSED:
            self._note("wire", phone, way, fate.value)

    def fly(self, phone: str) -> None:
        """A phone is off."""
        self._lasting.setdefault(("die", phone), self._at())

    def land(self, phone: str) -> None:
        """It is on again, and sends what was written meanwhile."""
        self._end("die", phone)
        for written in self._in_the_air.pop(phone, []):
            self._note(written.verb, *written.args)

    def slow_down(self) -> None:
        """Everything takes long."""
        self._lasting.setdefault(("slow", ""), self._at())

    def speed_up(self) -> None:
        """Not any more."""
        self._end("slow", "")

    def kill(self) -> None:
        """The server was killed."""
        self._lasting.setdefault(("crash", _GATEWAY), self._at())

    def restart(self) -> None:
        """It is there again."""
        self._end("crash", _GATEWAY)

    def remark(self, text: str) -> None:
        """Something happened that the simulator has no word for."""
        self._remarks.append(f"# {self._at():.3f} {text}")

    def dump(self) -> str:
        """The text of the ``.run`` file. What still lasts ends now."""
        decisions = [*self._decisions, *(self._lasted(*what) for what in self._lasting)]
        for written in self._in_the_air.values():
            decisions += [one._replace(at_s=self._at()) for one in written]
        plan = Plan(self._seed, True, 1, False, tuple(sorted(decisions)))
        return "\n".join(["# pressed in the lab, by hand", *self._remarks, plan.dump()])

    @property
    def name(self) -> str:
        """What to call the file."""
        return f"lab-{self._seed}.run"

    def _at(self) -> float:
        # A run begins when everybody is there; what is done in the first second is done in the second.
        return round(self._now() - self._began + 1.0, 3)

    def _person(self, phone: str, verb: str, *args: str) -> None:
        decision = Decision(self._at(), verb, (phone, GROUP, *args))
        if ("die", phone) in self._lasting:
            self._in_the_air.setdefault(phone, []).append(decision)
        else:
            self._keep(decision)

    def _note(self, verb: str, *args: str) -> None:
        self._keep(Decision(self._at(), verb, args))

    def _keep(self, decision: Decision) -> None:
        self._decisions.append(decision)
        del self._decisions[: -self._most]

    def _end(self, verb: str, what: str) -> None:
        if (verb, what) in self._lasting:
            self._keep(self._lasted(verb, what))
            del self._lasting[verb, what]

    def _lasted(self, verb: str, what: str) -> Decision:
        since = self._lasting[verb, what]
        seconds = f"{max(0.1, self._at() - since):.1f}"
        return Decision(since, verb, (what, seconds) if what else (seconds,))
