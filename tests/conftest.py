"""Settings for all tests: how much Hypothesis tries, and from where.

- ``dev``: other examples at every run, failing ones remembered.
- ``ci``: the same examples at every run, so that a red run is about the change and can be repeated.
- ``fuzz``: what `make fuzz` loads for tests with the mark ``fuzz``: ``WHISPERKIT_FUZZ_INPUTS`` examples each.

A test that is to be fuzzed sets no ``max_examples`` of its own: it would win over the profile.
"""

from __future__ import annotations

import os

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
