"""All rounds: each peer once in each, in an order that is turned by one from round to round."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.machine import facts, load_average
from tests.bench.ratchet.contestant import EPOCH_MESSAGES, Sizes
from tests.bench.ratchet.entries import Json, entries, once_ms
from tests.bench.ratchet.peers import OURS, Peer

__all__ = ["SCHEMA", "FailedError", "run"]

SCHEMA: Final = 1

_ROOT: Final = Path(__file__).parents[3]
_TIMEOUT_S: Final = 600

Say = Callable[[str], None]


class FailedError(Exception):
    """A round of this library failed. A peer's failure is noted instead, and its column stays empty."""


def run(peers: Sequence[Peer], sizes: Sizes, *, rounds: int, install: bool = False, say: Say = print) -> Json:
    """Play all rounds, and sum them up.

    Args:
        peers: Who plays; this library is one of them.
        sizes: How much is done in each.
        rounds: How many.
        install: Whether to install peers that are not there.
        say: Where the progress goes.

    Returns:
        What is kept: the machine, all rounds, the summary.

    Raises:
        FailedError: This library failed.
    """
    ready: list[Peer] = []
    shown: Json = {}
    for peer in peers:
        reason = peer.missing(install)
        shown[peer.key] = {"title": peer.title, "about": peer.about, "missing": reason, "versions": {}}
        if reason is None:
            ready.append(peer)
        else:
            say(f"{peer.title}: not measured: {reason}")
    played: list[Json] = []
    for number in range(rounds):
        turn = number % len(ready)
        one = _Round(number, [*ready[turn:], *ready[:turn]], sizes, shown)
        played.append(one.play(rounds, say))
        ready = [peer for peer in ready if shown[peer.key]["missing"] is None]
    return {
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "sizes": sizes._asdict(),
        "epochs": sizes.ping_pong / EPOCH_MESSAGES,
        "peers": shown,
        "rounds": played,
        "once_ms": once_ms(played),
        "summary": entries(played, sizes),
    }


class _Round(NamedTuple):
    number: int
    order: Sequence[Peer]
    sizes: Sizes
    shown: Json

    def play(self, rounds: int, say: Say) -> Json:
        results: Json = {}
        before = load_average()
        for peer in self.order:
            say(f"round {self.number + 1} of {rounds}: {peer.title}")
            found = self._one(peer, say)
            if found is not None:
                self.shown[peer.key]["versions"] = found.pop("versions")
                results[peer.key] = found
        load = {"before": before, "after": load_average()}
        return {"order": [peer.key for peer in self.order], "load_average": load, "results": results}

    def _one(self, peer: Peer, say: Say) -> Json | None:
        arguments = peer.command(json.dumps(self.sizes._asdict()))
        try:
            done = subprocess.run(
                arguments, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
            )
            done.check_returncode()
        except (OSError, subprocess.SubprocessError) as error:
            # Node.js and Python both print the reason, the one before and the other after the stack.
            stderr = str(getattr(error, "stderr", None) or "")
            reasons = [line for line in stderr.splitlines() if "Error" in line]
            reason = f"it failed: {reasons[-1].strip() if reasons else error}"
            if peer.key == OURS:
                raise FailedError(f"{reason}\n{stderr}") from error
            self.shown[peer.key]["missing"] = reason
            say(f"{peer.title}: {reason}")
            return None
        sys.stderr.write(done.stderr)
        found: Json = json.loads(done.stdout)
        return found
