"""The page in `examples/web`, and the modules that it is made of: files, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse
from django.views.decorators.http import require_safe

__all__ = ["page"]

_TYPES: Final = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FILES: Final = {path.name: path for path in (Path(__file__).parents[1] / "web").iterdir() if path.suffix in _TYPES}


@require_safe
def page(request: ASGIRequest, name: str = "index.html") -> HttpResponse:
    """One of the files; a browser asks each time whether it has changed."""
    path = _FILES.get(name)
    if path is None:
        raise Http404
    return HttpResponse(path.read_bytes(), content_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})
