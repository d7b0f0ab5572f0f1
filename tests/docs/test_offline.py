"""Pages that load something from elsewhere, or that the search does not find, fail the build of the documentation."""

from __future__ import annotations

import pytest
from offline import from_elsewhere, not_found

PAGE = '<html><head><script src="searchindex.js"></script></head></html>'
INDEX = 'Search.setIndex({"docnames":["index","how-to/store"],"terms":{"cursor":0},"titleterms":{"store":1}})'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script async src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//fonts.example/a.css" />', ["//fonts.example/a.css"]),
        ("<img alt='a' src='http://pictures.example/1.png'>", ["http://pictures.example/1.png"]),
        ('<image xlink:href="https://pictures.example/2.png"/>', ["https://pictures.example/2.png"]),
        ('@import "https://fonts.example/b.css";', ["https://fonts.example/b.css"]),
        ("body { background: url( 'https://pictures.example/3.png' ) }", ["https://pictures.example/3.png"]),
        ('<a href="https://elsewhere.example/">there</a> <img src="_images/chat.svg">', []),
        ("<svg xmlns='http://www.w3.org/2000/svg'></svg> url(data:image/svg+xml;x) url(\"../a.woff\")", []),
    ],
)
def test_what_a_browser_would_load_from_elsewhere_is_found_and_where_links_lead_is_not(
    text: str, found: list[str]
) -> None:
    assert from_elsewhere(text) == found


def test_a_search_that_knows_every_page_is_well() -> None:
    assert list(not_found(PAGE, INDEX, ["index", "how-to/store"])) == []


@pytest.mark.parametrize(
    ("page", "index", "problems"),
    [
        ("<html></html>", INDEX, ["the search loads no index"]),
        (PAGE, INDEX.replace("how-to/store", "how-to/bot"), ["the search does not know how-to/store"]),
        (PAGE, INDEX.replace('"cursor":0', ""), ["the search knows no words"]),
        (
            PAGE,
            "fetch('searchindex.json')",
            ["the search does not know how-to/store", "the search does not know index", "the search knows no words"],
        ),
    ],
)
def test_a_search_that_finds_less_is_noticed(page: str, index: str, problems: list[str]) -> None:
    assert list(not_found(page, index, ["index", "how-to/store"])) == problems
