"""The official library as a process: one JSON request per line in, one JSON answer per line out."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Final

from tests.interop.install import FOLDER, node

__all__ = ["Answer", "OfficialDuplicateError", "OfficialError", "OfficialUntrustedError", "Peer", "PeerGoneError"]

# Any: JSON. What is read from it goes through `bytes.fromhex` or a comparison at once.
Answer = dict[str, Any]

_PROGRAM: Final = Path(__file__).with_name("peer.mjs")
# For one request. The slowest, 25,000 messages, takes ten seconds.
_TIMEOUT_S: Final = 120.0


class PeerGoneError(Exception):
    """The process ended or is stuck: neither is an answer to anything."""


class OfficialError(Exception):
    """The official library refused.

    Attributes:
        name: Which of its errors.
        code: Its number, if it has one.
    """

    def __init__(self, name: str, code: object, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.code = code


class OfficialDuplicateError(OfficialError):
    """The official library had this message before."""


class OfficialUntrustedError(OfficialError):
    """The official library trusts another identity key for this device."""


_KINDS: Final = {1: OfficialDuplicateError, 3: OfficialUntrustedError}


class Peer:
    """A process with devices of the official library."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [node(), _PROGRAM, FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii"
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, op: str, **fields: object) -> Answer:
        """Ask for one operation, and wait for the answer.

        Raises:
            OfficialError: The library refused.
            PeerGoneError: There is no answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=_TIMEOUT_S)
        except (OSError, queue.Empty) as error:
            raise PeerGoneError(f"no answer to {op!r}: {error!r}") from error
        if line is None:
            raise PeerGoneError(f"the process ended with {self._process.wait()} when it was asked for {op!r}")
        answer: Answer = json.loads(line)
        if "err" not in answer:
            return answer
        raise _KINDS.get(answer["code"], OfficialError)(answer["err"], answer["code"], answer["text"])

    def close(self) -> None:
        """End the process, by its id, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
