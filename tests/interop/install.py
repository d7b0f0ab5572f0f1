"""The official library, where the examples install it: `python -m tests.interop.install`, which `make interop` runs."""

from __future__ import annotations

from examples.bot.install import FOLDER, PACKAGE, VERSION, is_installed, main, node

__all__ = ["FOLDER", "PACKAGE", "VERSION", "is_installed", "node"]

if __name__ == "__main__":
    raise SystemExit(main([]))
