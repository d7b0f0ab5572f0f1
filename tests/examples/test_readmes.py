"""Each example starts from its own README: two commands, a Makefile that knows them, and files that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
# What the examples share; there is nothing in it to start.
SHARED: Final = {"media", "net"}
README_OF: Final = {
    folder.name: folder / "README.md"
    for folder in sorted(EXAMPLES.iterdir())
    if folder.is_dir() and folder.name not in SHARED and folder.name != "__pycache__"
}
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS: Final = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES: Final = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))

# In a block or in backticks; in a sentence it is the program that is spoken of.
MAKE: Final = re.compile(r"(?:^|`|\| )make ([a-z][a-z-]*)((?: [A-Z]+=(?:\"[^\"]*\"|[^\s`]+))*)", re.MULTILINE)


def commands(text: str) -> list[str]:
    """What stands in the first block for a terminal, without the remarks."""
    block = re.search(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [] if block is None else block[1].splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


def problems(text: str, folder: Path) -> Iterator[str]:
    """What is wrong with a README."""
    found = commands(text)
    if len(found) != 2:
        yield f"there are {len(found)} commands in the first block"
    if not any(command.startswith("make ") for command in found):
        yield "nothing is started with make"
    for target, arguments in MAKE.findall(text):
        if target not in TARGETS:
            yield f"make does not know {target}"
        for variable in re.findall(r" ([A-Z]+)=", arguments):
            if variable not in VARIABLES:
                yield f"make {target} does not know {variable}"
    for path in re.findall(r"tests/[\w/.]*\w", text):
        if not (ROOT / path).exists():
            yield f"{path} is not there"
    for path in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE):
        for name in path.strip("`").split("`, `"):
            # Files only; those of the programs in node/ are named without their folder.
            if "." in name and not (folder / name).exists() and not (folder / "node" / name).exists():
                yield f"{name} is not there"
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        if not (folder / path).exists():
            yield f"{path} is not there"


@pytest.mark.parametrize("name", README_OF)
def test_an_example_starts_from_its_readme(name: str) -> None:
    text = README_OF[name].read_text(encoding="utf-8")

    assert text.startswith("# ")
    assert list(problems(text, README_OF[name].parent)) == []


def test_every_target_that_runs_an_example_is_in_a_readme() -> None:
    recipes = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    running = {target for target, recipe in recipes if "examples" in recipe and target != "clean"}
    text = "".join(path.read_text(encoding="utf-8") for path in README_OF.values())

    assert running
    assert {target for target in running if not re.search(rf"\bmake {target}\b(?!-)", text)} == set()


def test_a_readme_that_does_not_hold_is_noticed() -> None:
    readme = (
        "```sh\nmake nothing NAME=alice\nmake serve COLOUR=blue  # not that\nmake demo\n```\n"
        "| `gone.py`, `README.md` | nothing |\n[there](../nowhere.md)\nmake test ARGS=tests/none.py\n"
    )

    assert list(problems(readme, EXAMPLES / "demo")) == [
        "there are 3 commands in the first block",
        "make does not know nothing",
        "make serve does not know COLOUR",
        "tests/none.py is not there",
        "gone.py is not there",
        "../nowhere.md is not there",
    ]
    assert list(problems("Start it somehow.", EXAMPLES / "demo")) == [
        "there are 0 commands in the first block",
        "nothing is started with make",
    ]
