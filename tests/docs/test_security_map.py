"""The security map: what it names is there, and what it says of the post-quantum ratchet is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from whisperkit.ratchet import (
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    MAX_SELF_FORWARD_JUMP,
    MAX_SKIPPED_KEYS,
    double_ratchet,
)
from whisperkit.ratchet.first_contact import MAX_BASE_KEYS_SEEN
from whisperkit.ratchet.replenish import PREKEY_KEEP_MS, PREKEY_RENEW_MS
from whisperkit.ratchet.safety_number import FINGERPRINT_ITERATIONS, FINGERPRINT_VERSION
from whisperkit.ratchet.sealed_sender import MAX_RECIPIENTS
from whisperkit.ratchet.sessions import MAX_TRIAL_STEPS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
DAY_MS = 86_400_000


@pytest.mark.parametrize("module", sorted(set(re.findall(r"{py:mod}`([\w.]+)`", TEXT))))
def test_the_modules_it_names_are_there(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[\w./]+\.py)`", TEXT))))
def test_the_tests_it_names_are_there(test: str) -> None:
    assert "def test_" in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "number",
    [
        f"{MAX_FORWARD_JUMP:,} ahead",
        f"{MAX_SELF_FORWARD_JUMP:,} ahead",
        f"{MAX_TRIAL_STEPS:,} keys",
        f"{MAX_SKIPPED_KEYS:,} for each chain",
        f"{MAX_BASE_KEYS_SEEN:,} base keys",
        f"after {PREKEY_RENEW_MS // DAY_MS} days, and replaced ones are kept for {PREKEY_KEEP_MS // DAY_MS}",
        f"of version {FINGERPRINT_VERSION} ",
        f"{FINGERPRINT_ITERATIONS:,} times",
        f"{MAX_RECIPIENTS:,} devices at most",
    ],
)
def test_its_numbers_are_those_of_the_code(number: str) -> None:
    assert number in TEXT


def test_it_says_how_many_chains_stay_usable() -> None:
    assert MAX_RECEIVING_CHAINS == 5
    assert "the last five receiving chains" in TEXT


def test_it_says_whether_sessions_use_the_post_quantum_ratchet() -> None:
    runs = vars(double_ratchet)["spqr"].__name__

    assert ("Sessions run SPQR" in TEXT) == (runs == "whisperkit.ratchet.spqr")
