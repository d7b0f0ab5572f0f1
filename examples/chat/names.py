"""Who is called what. The server knows ids only, which are derived from names: a name is known once it was typed.

Names are kept in the device's store, one a row: whom somebody knows is nobody's business. Somebody whose name was never
typed is ``@`` and the beginning of their id, a group ``#`` and the beginning of its.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from whisperkit.ids import ConversationId, UserId
from whisperkit.partitions import EVERYTHING, Change, Partition, Row
from whisperkit.stores import Load, Loaded, Outcome, PartitionStore, transact

__all__ = ["Names", "check_name", "group_label"]

MAX_NAME_CHARS: Final = 64
_NAME: Final = re.compile(r"\w[\w.-]*")
_ID_CHARS: Final = 8
_GROUP_CHARS: Final = 4
_PARTITION: Final = Partition("names")
# More than anybody types; who does is not known by name the next time.
_MAX_NAMES: Final = 100_000


def check_name(text: str) -> str:
    """A name in the form that counts: Alice and alice are one person.

    Raises:
        ValueError: It is none.
    """
    name = unicodedata.normalize("NFKC", text).casefold()
    if len(name) > MAX_NAME_CHARS or _NAME.fullmatch(name) is None:
        raise ValueError("a name has letters, digits, dots and dashes, begins with a letter or digit and is not long")
    return name


def group_label(conv: ConversationId) -> str:
    """What a group is called here."""
    return f"#{conv[:_GROUP_CHARS]}"


class Names:
    """The names that are known on this device.

    Args:
        own: The name of its user.
        store: Where they are kept.
    """

    def __init__(self, own: str, store: PartitionStore) -> None:
        self.own = own
        self._own = UserId.named(own)
        self._store = store
        self._names: dict[UserId, str] = {}
        self._unsaved: dict[UserId, str] = {}
        self._strangers: dict[str, UserId] = {}

    async def load(self) -> None:
        """Know the names that were saved."""
        for _, name in await self._store.rows(_PARTITION, [EVERYTHING], limit=_MAX_NAMES):
            self._names[UserId.named(name.decode())] = name.decode()

    async def save(self) -> None:
        """Keep the names that are new."""
        if not self._unsaved:
            return
        saved = dict(self._unsaved)
        rows = tuple(Row(user.encode(), name.encode()) for user, name in saved.items())

        def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[None]:
            return Outcome(None, (Change(_PARTITION, loaded[_PARTITION].version, b"", rows),))

        await transact(self._store, [Load(_PARTITION)], rule)
        for user in saved:
            self._unsaved.pop(user, None)

    def name_of(self, user: UserId) -> str:
        """What to call somebody; the person in front of this device is "you"."""
        if user == self._own:
            return "you"
        if user in self._names:
            return self._names[user]
        label = f"@{user[:_ID_CHARS]}"
        self._strangers[label] = user
        return label

    def user_of(self, text: str) -> UserId:
        """Who is meant; a name that is new is remembered, and kept by the next `save`.

        Raises:
            ValueError: It is no name, or nobody was shown by that label.
        """
        if text.startswith("@"):
            if text not in self._strangers:
                raise ValueError(f"nobody here is shown as {text}")
            return self._strangers[text]
        name = check_name(text)
        user = UserId.named(name)
        if user != self._own and user not in self._names:
            self._names[user] = self._unsaved[user] = name
        return user
