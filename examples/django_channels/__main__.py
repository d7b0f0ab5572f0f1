"""`python -m examples.django_channels [PORT]`: the site on one port, with all that it keeps in `chat-data/django`."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import django
import uvicorn
from django.core.management import call_command

__all__ = ["main"]

_PORT: Final = 8091


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_channels.settings")
    os.environ.setdefault("DJANGO_SECRET_KEY", _secret_key(Path("chat-data/django")))
    django.setup()
    call_command("migrate", verbosity=0)
    port = int(arguments[0]) if arguments else _PORT
    uvicorn.run("examples.django_channels.asgi:application", port=port, lifespan="on", access_log=False)
    return 0


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
