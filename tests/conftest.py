"""Settings for all tests: how much Hypothesis tries, and from where.

- ``dev``: other examples at every run, failing ones remembered.
- ``ci``: the same examples at every run, so that a red run is about the change and can be repeated.
- ``fuzz``: what `make fuzz` loads for tests with the mark ``fuzz``: ``WHISPERKIT_FUZZ_INPUTS`` examples each.

A test that is to be fuzzed sets no ``max_examples`` of its own: it would win over the profile.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("WHISPERKIT_FUZZ_INPUTS", "20000")),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what puts something else in the place of a part of the package, where the package is compiled."""
    from tests.compiled import IS_COMPILED  # not before what measures coverage has begun

    if not IS_COMPILED:
        return
    for item in items:
        is_replacing = isinstance(item, pytest.Function) and "monkeypatch" in item.fixturenames
        if is_replacing or item.get_closest_marker("replaces"):
            item.add_marker(pytest.mark.skip(reason="nothing takes the place of a part that is compiled"))
