"""The page of counterexamples names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "counterexamples.md"
NAMED = re.compile(r"`(test_\w+)` in `(tests/[\w/]+\.py)`(?: \(([\w ,:'()]+)\))?")


def test_every_named_test_is_there() -> None:
    named = NAMED.findall(PAGE.read_text())

    assert len(named) > 40
    missing = [name for name, path, _ in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []


def test_every_named_variant_is_there() -> None:
    variants = [
        (path, variant)
        for name, path, variant in NAMED.findall(PAGE.read_text())
        if name in ("test_a_broken_variant_is_caught", "test_what_is_broken_on_purpose_is_found")
    ]

    assert len(variants) > 15
    missing = [variant for path, variant in variants if not variant or variant not in (ROOT / path).read_text()]
    assert missing == []
