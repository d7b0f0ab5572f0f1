"""What some tests need, and not every machine has."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["do_without"]


def do_without(reason: str) -> NoReturn:
    """Skip the test that needs it, and say why; on CI, where all has to be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
