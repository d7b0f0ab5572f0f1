"""The story's claims say what was seen: each of them fails where what it says is not so."""

from __future__ import annotations

import ast
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from examples.demo import story
from examples.demo.narrator import ClaimFailedError, Narrator
from examples.demo.processes import SERVE, ServerProcess, ServerStoppedError
from examples.demo.story import CHAPTERS, Chapter, Story
from examples.device import Phone
from whisperkit.ids import ConversationId

pytestmark = pytest.mark.anyio

BROKEN = [sys.executable, str(Path(__file__).with_name("serve_broken.py"))]
SENTENCE = "gate changed to B12, boarding at ten"
UP_TO_THE_FLIGHT: list[Chapter] = [Story.two_phones, Story.flight]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _programs_are_found_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    for name in [name for name in os.environ if name.startswith("WHISPERKIT_")]:
        monkeypatch.delenv(name)


class Teller:
    """Tells chapters with a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = io.StringIO()
        self.narrator = Narrator(
            Console(file=self.out, highlight=False, soft_wrap=True), is_fast=True, is_stepped=False
        )

    async def tell(
        self,
        chapters: Sequence[Chapter],
        *,
        command: Sequence[str] = SERVE,
        teller: type[Story] = Story,
        patience_s: float = 60.0,
    ) -> list[str]:
        """Tell; returns the claims that held."""
        server = ServerProcess(self.folder / "server", command)
        server.folder.mkdir()
        try:
            await server.start()
            await teller(self.folder, server, self.narrator, patience_s=patience_s).tell(chapters)
        finally:
            await server.stop()
        return [claim.text for claim in self.narrator.claims]


@pytest.fixture
def teller(tmp_path: Path) -> Teller:
    return Teller(tmp_path)


class Reversed(Story):
    """Bob's phone shows two messages in the wrong order."""

    async def _texts(self, phone: Phone, conv: ConversationId, *, limit: int = 1_000) -> list[str]:
        texts = await super()._texts(phone, conv, limit=limit)
        return [*texts[:-2], *reversed(texts[-2:])] if phone is self.bob else texts


class Doubled(Story):
    """Bob's phone shows one message twice."""

    async def _texts(self, phone: Phone, conv: ConversationId, *, limit: int = 1_000) -> list[str]:
        texts = await super()._texts(phone, conv, limit=limit)
        return [*texts, *texts[-1:]] if phone is self.bob else texts


class Together(Story):
    """All phones show two messages in an order in which they were not written."""

    async def _texts(self, phone: Phone, conv: ConversationId, *, limit: int = 1_000) -> list[str]:
        texts = await super()._texts(phone, conv, limit=limit)
        return [*texts[:-2], *reversed(texts[-2:])]


async def test_the_same_chapters_hold_with_the_real_server(teller: Teller) -> None:
    held = await teller.tell([*UP_TO_THE_FLIGHT, Story.what_the_server_holds])

    assert held == [
        "two ticks once he has it, blue ones once he has read it",
        "both phones show the same safety number",
        "nothing is called delivered that is not",
        "ten of ten, in order, once",
        "the server holds ciphertext only",
        "so do the phones: who finds one and not its key reads nothing",
    ]


async def test_a_server_that_loses_a_message_is_found_out(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN_ENTRY", "8")

    with pytest.raises(ClaimFailedError, match="ten of ten, in order, once") as failed:
        await teller.tell(UP_TO_THE_FLIGHT, command=[*BROKEN, "loses"], patience_s=5.0)

    hers, his = cast("tuple[list[str], list[str]]", failed.value.found)  # the two histories, as the claim says
    assert len(hers) == 11
    assert set(his) < set(hers)


@pytest.mark.parametrize("broken", [Reversed, Doubled, Together])
async def test_a_wrong_order_and_a_message_that_comes_twice_are_found_out(teller: Teller, broken: type[Story]) -> None:
    with pytest.raises(ClaimFailedError, match="ten of ten, in order, once"):
        await teller.tell(UP_TO_THE_FLIGHT, teller=broken, patience_s=3.0)


async def test_a_server_that_holds_what_was_said_is_found_out(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN_SENTENCE", SENTENCE)

    with pytest.raises(ClaimFailedError, match="the server holds ciphertext only") as failed:
        await teller.tell([*UP_TO_THE_FLIGHT, Story.what_the_server_holds], command=[*BROKEN, "tells"])

    assert failed.value.found == (1, True)


async def test_a_server_that_does_not_start_is_told_of(teller: Teller) -> None:
    with pytest.raises(ServerStoppedError, match=r"ended with code 3; see .*server\.log"):
        await teller.tell(UP_TO_THE_FLIGHT, command=[sys.executable, "-c", "raise SystemExit(3)"])


# ---- as it is written -----------------------------------------------------------------------------------------------


def claims() -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(Path(story.__file__).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "claim":
            yield node


def argument(call: ast.Call, name: str) -> ast.expr:
    return next(keyword.value for keyword in call.keywords if keyword.arg == name)


def test_no_claim_compares_what_is_written_with_what_is_written() -> None:
    seen = list(claims())

    assert len(seen) >= 15
    for call in seen:
        expected, found = argument(call, "expected"), argument(call, "found")
        measured = [node for node in ast.walk(found) if isinstance(node, ast.Name | ast.Attribute)]
        assert measured, f"line {call.lineno}: nothing that was seen is in {ast.unparse(found)}"
        assert ast.unparse(expected) != ast.unparse(found), f"line {call.lineno}"


def test_every_chapter_comes_to_a_claim_and_all_are_told() -> None:
    tree = ast.parse(Path(story.__file__).read_text())
    methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    chapters = [chapter.__name__ for chapter in CHAPTERS]
    public = [name for name in vars(Story) if not name.startswith("_") and name != "tell"]

    assert chapters == public
    for name in chapters:
        called = [node.attr for node in ast.walk(methods[name]) if isinstance(node, ast.Attribute)]
        assert "claim" in called or "_reads" in called, f"{name} claims nothing"
