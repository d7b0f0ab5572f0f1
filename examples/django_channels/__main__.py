"""`python -m examples.django_channels [PORT]`: the site on one port, with all that it keeps in `chat-data/django`."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import django
from django.core.management import call_command

from examples.uvicorn_site import port_of, run_site
from examples.waiting import waiting

__all__ = ["main"]

_PORT: Final = 8091


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    about = "A Django site with a chat in it; all that it keeps is in chat-data/django."
    port = port_of(arguments, program="examples.django_channels", about=about, default=_PORT)
    folder = Path("chat-data/django")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_channels.settings")
    os.environ.setdefault("DJANGO_SECRET_KEY", _secret_key(folder))
    django.setup()
    with waiting("making the tables"):
        call_command("migrate", verbosity=0)
    return run_site("examples.django_channels.asgi:application", port=port, file=folder / "messages.db")


def _secret_key(folder: Path) -> str:
    """Made once: with another one, everybody would have to log in again."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "secret-key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50), encoding="utf-8")
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
