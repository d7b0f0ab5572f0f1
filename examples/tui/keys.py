"""The keys: one table, from which come the bindings, the page of all keys, and what may be bound anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from textual.binding import Binding

__all__ = [
    "APP_KEYS",
    "COMPOSER_KEYS",
    "KEYS",
    "MESSAGE_KEYS",
    "Key",
    "KeyNames",
    "bindings",
    "key_in_words",
    "key_names",
]


class Key(NamedTuple):
    """A key.

    Attributes:
        name: What it is called in the file of settings.
        keys: Which ones, with commas between.
        action: What it does.
        help: That in words.
    """

    name: str
    keys: str
    action: str
    help: str


APP_KEYS: Final = (
    Key("go-to", "ctrl+k", "go_to", "go to a conversation"),
    Key("new", "ctrl+n", "new_chat", "write to somebody new, or make a group"),
    Key("previous", "alt+up", "step_chat(-1)", "previous conversation"),
    Key("next", "alt+down", "step_chat(1)", "next conversation"),
    Key("unread", "alt+a", "next_unread", "next conversation with something unread"),
    *(Key(f"chat-{n}", f"alt+{n}", f"nth_chat({n})", f"conversation number {n}") for n in range(1, 10)),
    Key("page-up", "pageup", "page(-1)", "a page up"),
    Key("page-down", "pagedown", "page(1)", "a page down"),
    Key("bottom", "ctrl+end", "bottom", "to the newest message (also End in an empty line)"),
    Key("file", "ctrl+o", "attach", "send a file"),
    Key("find", "ctrl+f", "find(False)", "find in this conversation"),
    Key("find-all", "ctrl+g", "find(True)", "find in all conversations"),
    Key("verify", "ctrl+s", "verify", "the safety number"),
    Key("members", "f2", "members", "who is here"),
    Key("keys", "f1", "keys", "all keys"),
    Key("back", "escape", "back", "back"),
)
COMPOSER_KEYS: Final = (
    Key("send", "enter", "submit", "send"),
    Key("new-line", "alt+enter,ctrl+j,shift+enter", "new_line", "new line"),
)
MESSAGE_KEYS: Final = (
    Key("message-up", "up,k", "select(-1)", "the message above"),
    Key("message-down", "down,j", "select(1)", "the message below"),
    Key("top", "home", "top", "to what is loaded first"),
    Key("end", "end", "bottom", "to the newest message"),
    Key("first-unread", "u", "first_unread", "back to where the unread begins"),
    Key("open", "enter", "ask('open')", "open the file"),
    Key("save", "s", "ask('save')", "save the file"),
    Key("who", "i", "ask('info')", "who has it, who has read it"),
    Key("copy", "c", "ask('copy')", "copy the text"),
    Key("retry", "r", "ask('retry')", "send again what was not sent"),
    Key("delete", "delete", "ask('delete')", "throw away what was not sent"),
    Key("pause", "p", "ask('pause')", "let a file wait, or go on"),
    Key("compare", "v", "ask('compare')", "compare a safety number that has changed"),
    Key("accept", "a", "ask('accept')", "go on with a safety number that has changed"),
    Key("next-hit", "n", "ask('next_hit')", "next thing found"),
    Key("previous-hit", "N", "ask('previous_hit')", "previous thing found"),
)
KEYS: Final = {
    "Everywhere": APP_KEYS,
    "Where you write": COMPOSER_KEYS,
    "In the messages (Tab goes there)": MESSAGE_KEYS,
}


def bindings(keys: tuple[Key, ...], *, priority: bool = False) -> list[Binding]:
    """What textual needs of keys."""
    return [
        Binding(key.keys, key.action, key.help, show=False, priority=priority and key.keys != "escape", id=key.name)
        for key in keys
    ]


KeyNames: TypeAlias = Callable[[str], str]
"""Says which key does what is called so in the settings, in words: a hint that names another one would be a lie."""


def key_names(chosen: Mapping[str, str] | None = None) -> KeyNames:
    """The keys as they are set, of several the first.

    Args:
        chosen: Keys that the person has set, by name.
    """
    keys = {key.name: key.keys for group in KEYS.values() for key in group} | dict(chosen or {})
    return lambda name: _in_words(keys[name].partition(",")[0])


_WORDS: Final = {"pageup": "PgUp", "pagedown": "PgDn", "escape": "Esc", "delete": "Del", "up": "↑", "down": "↓"}


def key_in_words(keys: str) -> str:
    """Keys as a person says them."""
    return ", ".join(map(_in_words, keys.split(",")))


def _in_words(keys: str) -> str:
    *held, key = keys.split("+")
    is_named = len(key) > 1 or "ctrl" in held  # nobody writes Ctrl and a small letter
    return "+".join([*map(str.capitalize, held), _WORDS.get(key, key.capitalize() if is_named else key)])
