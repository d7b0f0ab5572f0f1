"""A run as a list of decisions: what people do, and what goes wrong, each at its time.

Everything that a simulation decides is in the list, so the list *is* the run: it can be written to a file, read in a
year, shortened line by line. The generator is only one way to make such a list; when it changes, old files
replay as before. What is left to the seed is how long things take.

A file is text, one decision a line: seconds, verb, arguments; settings before them.

    seed 8812
    spans yes
    12.250 send alice.1 bob
    13.010 door g1 commit crash_after
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

from whisperkit.errors import UsageError
from whisperkit.testing.faulty import Fault
from whisperkit.testing.sim_doors import DOORS

__all__ = ["FAULTS", "GROUPS", "USERS", "Decision", "Plan", "generate", "shrink"]

USERS: Final = ("alice", "bob", "carol", "dave", "erin", "frank")
# A small, a mid and a mega group, by the limits of the simulation; members come and go across them.
GROUPS: Final = {"team": USERS[:3], "club": USERS[:4], "hall": USERS}

# Verbs of what goes wrong, with what they are told:
#   crash GATEWAY SECONDS     it is started again after so long; 0: never
#   replace GATEWAY SECONDS   it never comes back; another one takes its place under another name after so long
#   pause GATEWAY SECONDS     it stands still, is taken for dead, and goes on
#   door NODE DOOR FAULT      the next call of that door meets the fault
#   wire DEVICE WAY FATE      the next message that way (up, down) is lost, doubled or late
#   cut DEVICE SECONDS        the connection ends; the gateway hears of it after so long
#   die DEVICE SECONDS        the device's program is killed, and started again after so long; 0: never
#   empty                     the directory loses its memory
#   deaf SECONDS              hints between gateways are lost
#   slow SECONDS              everything takes forty times as long
FAULTS: Final = frozenset({"crash", "replace", "pause", "door", "wire", "cut", "die", "empty", "deaf", "slow"})
_ACTIONS: Final = frozenset({"send", "add", "remove", "link", "unlink", "read", "open"})


class Decision(NamedTuple):
    """One line.

    Attributes:
        at_s: When, in seconds from the beginning.
        verb: What.
        args: To whom.
    """

    at_s: float
    verb: str
    args: tuple[str, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Whether something goes wrong."""
        return self.verb in FAULTS

    def __str__(self) -> str:
        return " ".join((f"{self.at_s:.3f}", self.verb, *self.args))


class Plan(NamedTuple):
    """A whole run.

    Attributes:
        seed: Owns how long things take, and their order at one time.
        spans: Whether one commit may carry several partitions.
        gateways: How many.
        partition_marks: Whether marks and jobs are partitions too, as over an application's own database.
        decisions: In order of time.
    """

    seed: int
    spans: bool
    gateways: int
    partition_marks: bool
    decisions: tuple[Decision, ...]

    @property
    def faults(self) -> int:
        """How many things go wrong."""
        return sum(decision.is_fault for decision in self.decisions)

    def dump(self) -> str:
        """The text of a ``.run`` file."""
        flag = ("no", "yes")
        head = [
            f"seed {self.seed}",
            f"spans {flag[self.spans]}",
            f"gateways {self.gateways}",
            f"partition_marks {flag[self.partition_marks]}",
        ]
        return "\n".join([*head, *map(str, self.decisions), ""])

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a ``.run`` file; lines that begin with ``#`` are remarks.

        Raises:
            UsageError: With the line that is none.
        """
        settings: dict[str, str] = {}
        decisions: list[Decision] = []
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] in ("seed", "spans", "gateways", "partition_marks") and len(words) == 2:
                settings[words[0]] = words[1]
                continue
            try:
                decision = Decision(float(words[0]), words[1], tuple(words[2:]))
            except (ValueError, IndexError) as error:
                raise UsageError(f"not a decision: {line}") from error
            if decision.verb not in FAULTS | _ACTIONS:
                raise UsageError(f"not a decision: {line}")
            decisions.append(decision)
        return cls(
            int(settings.get("seed", "0")),
            settings.get("spans", "yes") == "yes",
            int(settings.get("gateways", "1")),
            settings.get("partition_marks", "no") == "yes",
            tuple(sorted(decisions)),
        )


# ---- making one -----------------------------------------------------------------------------------------------------


def generate(
    seed: int, *, messages: int = 10, faults: int = 8, over_s: float = 20.0, spans: bool | None = None
) -> Plan:
    """Make up a run.

    Args:
        seed: Decides everything.
        messages: About how many are sent; half as many other things are done.
        faults: How many things go wrong, at most.
        over_s: For how long.
        spans: Whether the store spans partitions; `None`: the seed decides.
    """
    random = Random(seed)
    is_spanning = random.random() < 0.5 if spans is None else spans
    gateways = random.choice((1, 1, 2, 2, 3))
    maker = _Maker(random, gateways, over_s)
    decisions = [maker.send() for _ in range(messages)]
    decisions += [maker.other() for _ in range(random.randint(0, messages // 2))]
    decisions += [maker.fault() for _ in range(random.randint(0, faults))]
    return Plan(seed, is_spanning, gateways, random.random() < 0.2, tuple(sorted(decisions)))


class _Maker:
    """Makes up single decisions."""

    def __init__(self, random: Random, gateways: int, over_s: float) -> None:
        self._random = random
        self._gateways = [f"g{number}" for number in range(1, gateways + 1)]
        self._over_s = over_s
        # Bursts are where things meet; a few moments take half of everything.
        self._moments = [random.uniform(1.0, over_s) for _ in range(4)]
        self._links = 0

    def _at(self) -> float:
        random = self._random
        if random.random() < 0.6:
            return round(random.choice(self._moments) + random.expovariate(4.0), 3)
        return round(random.uniform(1.0, self._over_s), 3)

    def _device(self) -> str:
        return f"{self._random.choice(USERS)}.1"

    def _chat(self, device: str) -> str:
        if self._random.random() < 0.4:
            return self._random.choice([user for user in USERS[:3] if user != device.partition(".")[0]])
        return self._random.choice(list(GROUPS))

    def _seconds(self, most: float) -> str:
        return f"{self._random.uniform(0.1, most):.1f}"

    def send(self) -> Decision:
        """A message."""
        device = f"{self._random.choice(USERS[:3] if self._random.random() < 0.7 else USERS)}.1"
        return Decision(self._at(), "send", (device, self._chat(device)))

    def other(self) -> Decision:
        """Something else that people do."""
        random = self._random
        verb = random.choice(("add", "remove", "link", "unlink", "read", "read", "open"))
        device = self._device()
        match verb:
            case "add" | "remove":
                return Decision(self._at(), verb, (device, random.choice(list(GROUPS)), random.choice(USERS)))
            case "link":
                self._links += 1
                return Decision(self._at(), verb, (device, str(self._links + 1)))
            case "unlink":
                return Decision(self._at(), verb, (device, str(random.randint(2, 4))))
            case _:
                return Decision(self._at(), verb, (device, self._chat(device)))

    def fault(self) -> Decision:
        """Something that goes wrong."""
        random = self._random
        gateway = random.choice(self._gateways)
        verb = random.choices(_CHANCES_OF[0], _CHANCES_OF[1])[0]
        match verb:
            case "crash":
                # One gateway may stay away for good, if there are others to adopt what it left.
                is_for_good = gateway != "g1" and random.random() < 0.3
                return Decision(self._at(), verb, (gateway, "0" if is_for_good else self._seconds(20.0)))
            case "replace":
                return Decision(self._at(), verb, (gateway, self._seconds(20.0)))
            case "pause":
                return Decision(self._at(), verb, (gateway, self._seconds(random.choice((5.0, 60.0)))))
            case "door":
                node = gateway if random.random() < 0.8 else self._device()
                door = random.choice(DOORS)
                faults = [fault for fault in Fault if fault is not Fault.NONE]
                return Decision(self._at(), verb, (node, door, random.choice(faults).name.lower()))
            case "wire":
                way, fate = random.choice(("up", "down")), random.choice(("lost", "doubled", "late"))
                return Decision(self._at(), verb, (self._device(), way, fate))
            case "cut" | "die":
                return Decision(self._at(), verb, (self._device(), self._seconds(20.0)))
            case "deaf" | "slow":
                return Decision(self._at(), verb, (self._seconds(20.0),))
            case _:
                return Decision(self._at(), "empty")


_CHANCES_OF: Final = (
    ("crash", "pause", "door", "wire", "cut", "die", "empty", "deaf", "slow", "replace"),
    (4, 2, 8, 3, 3, 2, 1, 1, 1, 1),
)


# ---- making one shorter ---------------------------------------------------------------------------------------------


def shrink(plan: Plan, still_fails: Callable[[Plan], bool], *, attempts: int = 200) -> Plan:
    """Take decisions away, faults first, as long as the run still fails.

    Args:
        plan: A run that fails.
        still_fails: Whether another run fails in the same way.
        attempts: How many runs may be tried.
    """
    kinds: tuple[Callable[[Decision], bool], ...] = (lambda decision: decision.is_fault, lambda _decision: True)
    for is_wanted in kinds:
        size = max(1, sum(map(is_wanted, plan.decisions)) // 2)
        while size and attempts:
            chosen = [decision for decision in plan.decisions if is_wanted(decision)]
            is_shorter = False
            for start in range(0, len(chosen), size):
                shorter = _without(plan, chosen[start : start + size])
                attempts -= 1
                if still_fails(shorter):
                    plan, is_shorter = shorter, True
                if not attempts:
                    break
            if not is_shorter or size > 1:
                size //= 2
    return plan


def _without(plan: Plan, gone: Iterable[Decision]) -> Plan:
    rest: list[Decision] = list(plan.decisions)
    for decision in gone:
        if decision in rest:
            rest.remove(decision)
    return plan._replace(decisions=tuple(rest))


def describe(decisions: Sequence[Decision]) -> str:
    """Decisions as lines, for people."""
    return "\n".join(f"    {decision}" for decision in decisions)
