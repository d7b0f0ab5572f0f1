"""The tables of the SQLite file, how a file comes to have them, and how it is opened: by one process, durably."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from whisperkit.errors import StoreLockedError, StoreVersionError

__all__ = ["MIGRATIONS", "connect", "migrate"]

# Step n leads from schema n to schema n + 1; `user_version` of the file counts the steps. Only ever append.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE head (id INTEGER PRIMARY KEY, partition TEXT NOT NULL UNIQUE,"
        " version INTEGER NOT NULL, state BLOB NOT NULL)",
        "CREATE TABLE row (partition INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL)",
        "CREATE UNIQUE INDEX row_by_key ON row (partition, key)",
        "CREATE TABLE mark (partition TEXT, name TEXT, value INTEGER NOT NULL,"
        " PRIMARY KEY (partition, name)) WITHOUT ROWID",
        "CREATE TABLE dropped (id INTEGER PRIMARY KEY, partition INTEGER NOT NULL,"
        " start BLOB NOT NULL, stop BLOB NOT NULL)",
        "CREATE TABLE generation (epoch INTEGER NOT NULL)",
        "INSERT INTO generation VALUES (1)",
    ),
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a file to the newest schema, each step in a transaction of its own.

    Args:
        db: In autocommit mode.
        migrations: Steps, each a few statements.

    Raises:
        StoreVersionError: The file has more steps behind it than there are.
    """
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found > len(migrations):
        raise StoreVersionError(found=found, supported=len(migrations))
    for number, statements in enumerate(migrations[found:], start=found + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")


def connect(path: str, max_bytes: int | None) -> sqlite3.Connection:
    """Open a file for this process alone, in autocommit mode, at the newest schema.

    Raises:
        StoreLockedError: Another process has it open.
        StoreVersionError: A newer program has written it.
    """
    db = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # Exclusive before the first access: one process only, and the index of the log is in its memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -32768")
        migrate(db)
        # Take the lock now and not at the first write.
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        if max_bytes is not None:
            page_bytes: int = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}")
    except Exception as error:
        db.close()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreLockedError(path=path) from error
        raise
    return db
