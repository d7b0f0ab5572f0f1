"""What the application had before: accounts with a password, in a SQLite file of its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["Accounts"]

_TABLE: Final = "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, salt BLOB NOT NULL, password BLOB NOT NULL)"
_MAKE: Final = "INSERT INTO account VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
_FIND: Final = "SELECT salt, password FROM account WHERE name = ?"


class Accounts:
    """Who there is.

    Args:
        path: The file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(_TABLE)

    def check(self, name: str, password: str) -> bool:
        """Make an account, or check its password; the first who says a name has it. Takes a while, in a thread."""
        with closing(sqlite3.connect(self._path)) as db:
            account = db.execute(_FIND, (name,)).fetchone()
            if account is None:
                salt = os.urandom(16)
                with db:
                    db.execute(_MAKE, (name, salt, _stretched(password, salt)))
                account = db.execute(_FIND, (name,)).fetchone()
        salt, stretched = account
        return hmac.compare_digest(stretched, _stretched(password, salt))


def _stretched(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)
