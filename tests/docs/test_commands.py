"""What pages tell readers to type, and is too long or too interactive to run in a test, is there to be typed."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_blocks import blocks, check_fences

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if not {"_build", "generated", "node_modules"} & set(path.parts)
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def commands(page: Path) -> Iterator[list[str]]:
    """What is typed in the blocks of a page, in words, without the settings in front."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words:
                    yield words


COMMANDS = set(
    re.findall(r"commands\.add_parser\(\"(\w+)\"", (ROOT / "examples" / "__main__.py").read_text(encoding="utf-8"))
)
INLINE = re.compile(r"`(?:[A-Z_]+=\S+ )*((?:make|python -m) [^`\n]+)`")


def unknown(command: str) -> str | None:
    """What a command names that is not there; `None` for one that can be typed."""
    match shlex.split(command):
        case ["make", target, *_] if target not in TARGETS:
            return f"make does not know {target}"
        case ["python", "-m", "examples", name, *_] if name not in COMMANDS:
            return f"python -m examples does not know {name}"
        case ["python", "-m", module, *_] if not _is_module(module):
            return f"there is no module {module}"
        case _:
            return None


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


TYPED = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in commands(page)]


def test_pages_have_commands() -> None:
    assert len(TYPED) > 15


@pytest.mark.parametrize("target", sorted({words[1] for _, words in TYPED if words[0] == "make"}))
def test_a_target_of_make_that_a_page_names_is_there(target: str) -> None:
    assert target in TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_is_one_that_is_looked_at(page: Path) -> None:
    check_fences(page.read_text(encoding="utf-8"))


SENTENCES = sorted(
    {
        command
        for page in (*PAGES, *(ROOT / "changelog.d").glob("*.md"))
        for command in INLINE.findall(page.read_text(encoding="utf-8"))
    }
)


def test_sentences_name_commands() -> None:
    assert len(SENTENCES) > 20


@pytest.mark.parametrize("command", SENTENCES)
def test_a_command_in_a_sentence_is_there(command: str) -> None:
    assert unknown(command) is None


@pytest.mark.parametrize(
    "command",
    [
        "make coffee",
        "make tea",
        "python -m examples orchestra",
        "python -m examples.orchestra",
        "python -m whisper.kit",
    ],
)
def test_a_command_that_is_not_there_is_found(command: str) -> None:
    assert unknown(command) is not None
