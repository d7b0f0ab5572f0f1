"""What the checks of a `PartitionStore` have in common: how they fill a partition, look at it, and are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from whisperkit.errors import ConflictError
from whisperkit.partitions import (
    EVERYTHING,
    Change,
    Head,
    Partition,
    Row,
    seq_key,
)
from whisperkit.stores import PartitionStore
from whisperkit.testing.conformance import Lab, LawBrokenError

__all__ = ["ALL", "PartitionLab", "contents", "numbered", "refused"]

PartitionLab: TypeAlias = Lab[PartitionStore]

ALL: Final = 10_000


async def contents(store: PartitionStore, partition: Partition) -> tuple[Head | None, dict[bytes, bytes]]:
    """Head and rows of a partition."""
    heads = await store.heads([partition])
    return heads.get(partition), dict(await store.rows(partition, [EVERYTHING], limit=ALL))


async def refused(store: PartitionStore, changes: Sequence[Change], law: str) -> None:
    """Commit what must be refused with `ConflictError`.

    Raises:
        LawBrokenError: It was not.
    """
    try:
        await store.commit(changes)
    except ConflictError:
        return
    except Exception as error:
        raise LawBrokenError(f"{law}: expected ConflictError, got {error!r}") from error
    raise LawBrokenError(f"{law}: expected ConflictError, the commit returned")


def numbered(*numbers: int) -> tuple[Row, ...]:
    """Rows with these numbers, each with its number as its value."""
    return tuple(Row(seq_key(b"e/", number), b"%d" % number) for number in numbers)
