"""Who is called what. The server knows ids only, which are derived from names: a name is known once it was typed.

Names are kept in a file beside the device, one a line. Somebody whose name was never typed is ``@`` and the beginning
of their id, a group ``#`` and the beginning of its.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Final

from whisperkit.ids import ConversationId, UserId

__all__ = ["Names", "check_name", "group_label"]

MAX_NAME_CHARS: Final = 64
_NAME: Final = re.compile(r"\w[\w.-]*")
_ID_CHARS: Final = 8
_GROUP_CHARS: Final = 4


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
        path: Where they are kept.
    """

    def __init__(self, own: str, path: Path) -> None:
        self.own = own
        self._own = UserId.named(own)
        self._path = path
        self._names: dict[UserId, str] = {}
        self._strangers: dict[str, UserId] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._names[UserId.named(line)] = line

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
        """Who is meant; a name that is new is remembered.

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
            self._names[user] = name
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
        return user
