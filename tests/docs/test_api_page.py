"""The page of every public name has each of them, with its shape, its errors and where it is written."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from api_page import MODULES, Entry, entries, render_api
from code_blocks import blocks

import whisperkit
from whisperkit import transport

ROOT = Path(__file__).parents[2]
PAGE = render_api()
SECTIONS = dict(re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ITEM = re.compile(r"^( *)- (?:\{py:obj\}`(\w+) <[\w.]+>`|`(\w+)`)", re.MULTILINE)


def names_on(section: str) -> list[str]:
    """The names that stand at the left edge of a section."""
    return [match[2] or match[3] for match in ITEM.finditer(section) if not match[1]]


def missing(sections: dict[str, str]) -> list[str]:
    """Public names that stand nowhere in the section of their module, or stand there twice."""
    found: list[str] = []
    for module in MODULES:
        public: list[str] = importlib.import_module(module).__all__
        on_page = names_on(sections.get(module, ""))
        found += [f"{module}.{name}" for name in public if on_page.count(name) != 1]
    return found


def test_every_public_name_is_on_the_page_once() -> None:
    assert missing(SECTIONS) == []


def test_a_name_that_is_left_out_is_found() -> None:
    without = SECTIONS | {
        "whisperkit.client": SECTIONS["whisperkit.client"].replace("SessionManager", "Session_Manager")
    }

    assert missing(without) == ["whisperkit.client.SessionManager"]


def test_a_module_that_is_left_out_is_found() -> None:
    without = {name: text for name, text in SECTIONS.items() if name != "whisperkit.transport"}

    assert set(missing(without)) == {f"whisperkit.transport.{name}" for name in transport.__all__}


@pytest.mark.parametrize("module", MODULES)
def test_a_section_has_nothing_but_public_names(module: str) -> None:
    assert set(names_on(SECTIONS[module])) <= set(importlib.import_module(module).__all__)


def test_every_module_at_the_top_is_public() -> None:
    top = {f"whisperkit.{module.name}" for module in pkgutil.iter_modules(whisperkit.__path__)}

    assert top - set(MODULES) == {"whisperkit._version", "whisperkit._named_tuples"}


def imported_on_pages() -> set[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    code = [block.text for page in pages for block in blocks(page.read_text(encoding="utf-8"))]
    return set(re.findall(r"^from (whisperkit[\w.]*) import ", "\n".join(code), re.MULTILINE))


def test_what_the_pages_import_from_is_public() -> None:
    assert imported_on_pages() - set(MODULES) == set()


def entry(module: str, name: str) -> Entry:
    return next(found for found in entries(module) if found.name == name)


def test_a_method_is_told_with_shape_meaning_errors_and_source() -> None:
    found = entry("whisperkit.service", "MessageService.send")

    assert found.shape.startswith("async (sender: DeviceId, conversation: ConversationId, body: bytes")
    assert found.shape.endswith("-> SentMessage")
    assert {"SendFirstError", "UsageError"} <= set(found.raises)
    assert re.fullmatch(r"whisperkit/service/service\.py:\d+", found.source)


def test_a_constant_is_told_with_its_value_and_its_reason_from_the_module_that_has_it() -> None:
    found = entry("whisperkit.ratchet", "MAX_SKIPPED_KEYS")

    assert (found.shape, found.source.partition(":")[0]) == ("2000", "whisperkit/ratchet/double_ratchet.py")
    assert found.summary.startswith("How many skipped seeds a chain keeps.")


@pytest.mark.parametrize(
    ("module", "name", "shape"),
    [
        ("whisperkit", "InboxSeq", "int"),
        ("whisperkit.fanout", "PlanStep", "Append | Hint | Enqueue | Notify"),
        ("whisperkit.stores", "Roster", "(version: int, members: frozenset[UserId])"),
        ("whisperkit.receipts", "MessageStatus", "FAILED | PENDING | SENT | DELIVERED | READ"),
        ("whisperkit.errors", "MalformedIdError", "(PeerError, UsageError)"),
        ("whisperkit.presence", "PresenceTracker.deadline", "float | None"),
        ("whisperkit.sync.codec", "EncodedFrame", "bytes"),
    ],
)
def test_shapes_are_those_of_their_kind(module: str, name: str, shape: str) -> None:
    assert entry(module, name).shape == shape


def test_nothing_on_the_page_changes_from_run_to_run_or_with_the_machine() -> None:
    assert re.findall(r" at 0x|<function|/site-packages/|/home/|<lambda>", PAGE) == []
    assert str(ROOT) not in PAGE


def test_errors_lead_to_their_pages() -> None:
    assert "{ref}`SendFirstError <sync.send-first>`" in SECTIONS["whisperkit.service"]
