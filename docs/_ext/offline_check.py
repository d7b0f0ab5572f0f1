"""Fail a build whose pages do not open from the disk, or whose search does not find one of them; see `offline`."""

from __future__ import annotations

from pathlib import Path

from offline import from_elsewhere, not_found
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]


def _check(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    problems = [
        f"{path.relative_to(folder)} loads {url}"
        for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")])
        for url in from_elsewhere(path.read_text(encoding="utf-8"))
    ]
    search_page, index = (folder / name for name in ("search.html", "searchindex.js"))
    problems += not_found(
        search_page.read_text(encoding="utf-8"), index.read_text(encoding="utf-8"), app.env.found_docs
    )
    if problems:
        raise ExtensionError("the pages do not open from the disk:\n" + "\n".join(problems))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to the end of a build."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True}
