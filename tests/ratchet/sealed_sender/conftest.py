"""The vectors of the official library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:  # JSON of many shapes
    return json.loads((Path(__file__).parents[2] / "vectors/signal/sealed_sender.json").read_text())  # type: ignore[no-any-return]
