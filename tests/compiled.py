"""Whether the package that is installed here is compiled; see docs/how-to/compile.md."""

from __future__ import annotations

from typing import Final

from whisperkit.sync import inbox

__all__ = ["IS_COMPILED"]

IS_COMPILED: Final = not inbox.__file__.endswith(".py")
