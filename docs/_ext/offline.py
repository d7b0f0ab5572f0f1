"""Whether built pages open from the disk: nothing is loaded from elsewhere, and the search finds each of them.

The index has to come as a script: a browser fetches nothing from a disk. This module knows nothing of Sphinx; it is
`offline_check` that fails a build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

__all__ = ["from_elsewhere", "not_found"]

# What a browser loads by itself; where a link leads is the reader's affair.
_LOADED: Final = re.compile(
    r"<(?:script|link|img|iframe|source|object|embed|video|audio|use|image)\b[^>]*?"
    r"\b(?:src|srcset|href|data|poster)\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"
)
_STYLED: Final = re.compile(r"(?:@import\s*(?:url\()?|\burl\()\s*[\"']?((?:https?:)?//[^\"')\s]+)")
_INDEX: Final = re.compile(r"Search\.setIndex\((.*)\)\s*", re.DOTALL)


def from_elsewhere(text: str) -> list[str]:
    """What a page or a style loads that is not beside it."""
    return [*_LOADED.findall(text), *_STYLED.findall(text)]


def not_found(search_page: str, index: str, documents: Collection[str]) -> Iterator[str]:
    """What the search does not find, in words.

    Args:
        search_page: The page with the search.
        index: The file that it searches.
        documents: Names of all pages.
    """
    if '<script src="searchindex.js' not in search_page:
        yield "the search loads no index"
    match = _INDEX.fullmatch(index)
    found: Mapping[str, Any] = json.loads(match[1]) if match else {}  # Any: what Sphinx writes
    for document in sorted(set(documents) - set(found.get("docnames", ()))):
        yield f"the search does not know {document}"
    if not found.get("terms") or not found.get("titleterms"):
        yield "the search knows no words"
