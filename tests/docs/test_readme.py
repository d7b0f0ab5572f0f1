"""The README: its examples run, it fits two screens, and what it says of the encryption is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from code_blocks import blocks, run_page

from whisperkit.ratchet import double_ratchet

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def test_the_first_example_prints_what_its_comments_say(tmp_path: Path) -> None:
    page = tmp_path / "first.md"
    page.write_text(f"```python\n{blocks(TEXT)[0].text}```\n```text\n[b'A', b'B']\nDELIVERED\n```\n", encoding="utf-8")

    run_page(page, folder=tmp_path)


def test_the_second_example_brings_a_message_there_and_an_answer_back(tmp_path: Path) -> None:
    found = run_page(README, folder=tmp_path)

    assert found["first"].type.name == "PREKEY"
    assert found["reply"].type.name == "WHISPER"


def test_it_fits_two_screens() -> None:
    assert len(TEXT.splitlines()) <= 100


def test_it_says_whether_sessions_use_the_post_quantum_ratchet() -> None:
    runs = vars(double_ratchet)["spqr"].__name__

    assert ("Sessions run the post-quantum ratchet (SPQR)" in TEXT) == (runs == "whisperkit.ratchet.spqr")


@pytest.mark.parametrize("target", [line.split(maxsplit=1)[1] for line in blocks(TEXT)[-1].text.splitlines()])
def test_the_commands_it_names_are_targets_of_make(target: str) -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")

    assert f"\n{target}: " in makefile
