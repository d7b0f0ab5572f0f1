"""The kit catches each store that is broken in one way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing import PARTITION_CHECKS, LawBrokenError, run_conformance
from whisperkit.testing.broken_stores import BROKEN_STORES


@pytest.mark.parametrize("broken", BROKEN_STORES, ids=lambda broken: broken.__name__)
def test_a_broken_store_is_caught(broken: type[MemoryPartitions]) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[PartitionStore]:
        yield broken()

    with pytest.raises((LawBrokenError, ExceptionGroup)) as caught:
        run_conformance(make, PARTITION_CHECKS)

    assert caught.group_contains(LawBrokenError) if isinstance(caught.value, ExceptionGroup) else True


def test_a_store_that_forgets_on_restart_is_caught_where_it_claims_otherwise() -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[PartitionStore]:
        yield MemoryPartitions()

    with pytest.raises(LawBrokenError, match="restart"):
        run_conformance(make, PARTITION_CHECKS, survives_restart=True)


def test_each_broken_store_says_what_is_wrong() -> None:
    assert all(broken.__doc__ for broken in BROKEN_STORES)
