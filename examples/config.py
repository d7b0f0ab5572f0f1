"""Settings of the reference server: a TOML file, overridden by the environment, each value's origin known.

    [server]
    bind = "127.0.0.1:8080"        # or WHISPERKIT_SERVER__BIND=127.0.0.1:8080

The classes below are the whole table: names, types, defaults and bounds. All that is wrong is told at once, with the
line or the variable, and for a name that nobody knows the nearest one that somebody does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

import attrs

from examples.net.websocket import EdgeLimits
from whisperkit.errors import UsageError
from whisperkit.fanout import Limits

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "FanoutSettings",
    "LimitSettings",
    "PresenceSettings",
    "ServerSettings",
    "Setting",
    "load_config",
    "secrets",
]

DEFAULT_PATH: Final = Path("whisperkit.toml")

_PREFIX: Final = "WHISPERKIT_"
# Others begin like that, too; the two underscores make it a setting.
_VARIABLE = re.compile(r"WHISPERKIT_[A-Z0-9]+(_[A-Z0-9]+)*__[A-Z0-9_]+")
# What opens a device, which `examples.passphrase` reads.
_SECRETS: Final = {
    "device.passphrase_file": "WHISPERKIT_PASSPHRASE_FILE",
    "device.passphrase": "WHISPERKIT_PASSPHRASE",
    "device.key": "WHISPERKIT_KEY",
}
_BIND = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})")

T = TypeVar("T")
Value: TypeAlias = str | int | float
Check: TypeAlias = Callable[[Any], str | None]
"""Says what a value must be, if it is not; `Any` because each setting's check takes its own type."""


class ConfigError(Exception):
    """The configuration is wrong; the program ends with code 78.

    Attributes:
        problems: One line each: where, and what.
    """

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


# ---- what may be set ------------------------------------------------------------------------------------------------


def _is(check: Check) -> Mapping[str, object]:
    return {"check": check}


def _within(least: float, most: float) -> Mapping[str, object]:
    return _is(lambda value: None if least <= value <= most else f"must be {least} to {most}")


def _profile(value: str) -> str | None:
    return None if value == "embedded" else 'must be "embedded"'


def _bind(value: str) -> str | None:
    match = _BIND.fullmatch(value)
    return None if match and int(match[3]) < 65_536 else 'must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"'


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The section ``[server]``.

    Attributes:
        bind: Host and port; port 0 is any free one.
        profile: ``embedded``: one process on SQLite.
        sqlite_path: The database; made if it is not there.
        blob_path: The folder of attachments; made if it is not there.
    """

    bind: str = attrs.field(default="127.0.0.1:8080", metadata=_is(_bind))
    profile: str = attrs.field(default="embedded", metadata=_is(_profile))
    sqlite_path: str = attrs.field(default="chat.db", metadata=_is(_filled))
    blob_path: str = attrs.field(default="blobs", metadata=_is(_filled))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `bind`."""
        match = _BIND.fullmatch(self.bind)
        assert match is not None  # checked when it was loaded
        return match[1] or match[2], int(match[3])


@attrs.frozen(kw_only=True)
class PresenceSettings:
    """The section ``[presence]``; seconds.

    Attributes:
        beat_s: How often a client says that it is there.
        ttl_s: After so long without a sign of life it counts as gone.
        grace_s: So long later others are told.
    """

    beat_s: float = attrs.field(default=30.0, metadata=_within(0.1, 3600))
    ttl_s: float = attrs.field(default=40.0, metadata=_within(0.1, 7200))
    grace_s: float = attrs.field(default=40.0, metadata=_within(0, 7200))


@attrs.frozen(kw_only=True)
class FanoutSettings:
    """The section ``[fanout]``; members.

    Attributes:
        direct_below: Groups smaller than this are copied for at once.
        queued_upto: Groups up to this size are copied for by a worker; larger ones are told that there is news.
    """

    direct_below: int = attrs.field(default=200, metadata=_within(2, 100_000))
    queued_upto: int = attrs.field(default=5_000, metadata=_within(2, 1_000_000))

    @property
    def limits(self) -> Limits:
        """The same for the planner. A group that shrinks changes back a tenth below them, so that it does not flip.

        Raises:
            UsageError: The limits are not in order.
        """
        return Limits(
            direct_below=self.direct_below,
            queued_upto=self.queued_upto,
            direct_again_at=self.direct_below * 9 // 10,
            queued_again_at=self.queued_upto * 9 // 10,
        )


@attrs.frozen(kw_only=True)
class LimitSettings:
    """The section ``[limits]``.

    Attributes:
        connections: So many at once; more are closed as they come.
        handshake_s: For so long a connection may say nothing of use.
        idle_s: A connection that was quiet for so long is cut.
        drain_s: So long a server that was told to stop waits for its connections to end.
        blob_bytes: The largest attachment.
    """

    connections: int = attrs.field(default=100_000, metadata=_within(1, 10_000_000))
    handshake_s: float = attrs.field(default=10.0, metadata=_within(0.1, 600))
    idle_s: float = attrs.field(default=75.0, metadata=_within(1, 86_400))
    drain_s: float = attrs.field(default=10.0, metadata=_within(0, 600))
    blob_bytes: int = attrs.field(default=100 << 20, metadata=_within(1, 1 << 40))

    @property
    def edge(self) -> EdgeLimits:
        """The same for the server's edge; a connection is pinged a little past half of its idle time."""
        return EdgeLimits(
            max_connections=self.connections,
            handshake_s=self.handshake_s,
            idle_s=self.idle_s,
            ping_after_s=self.idle_s * 8 / 15,
        )


class Setting(NamedTuple):
    """One value and where it came from.

    Attributes:
        name: Such as ``server.bind``.
        value: What it is.
        source: ``default``, ``whisperkit.toml:3`` or the name of a variable.
    """

    name: str
    value: Value
    source: str


@attrs.frozen(kw_only=True)
class Config:
    """All settings.

    Attributes:
        server: See there.
        presence: See there.
        fanout: See there.
        limits: See there.
        settings: The same as a list, in the order of the table, with the source of each.
    """

    server: ServerSettings
    presence: PresenceSettings
    fanout: FanoutSettings
    limits: LimitSettings
    settings: tuple[Setting, ...]


_SECTIONS: Final[Mapping[str, type[Any]]] = {  # `Any`: they have nothing in common but that attrs made them
    "server": ServerSettings,
    "presence": PresenceSettings,
    "fanout": FanoutSettings,
    "limits": LimitSettings,
}


# ---- where it comes from --------------------------------------------------------------------------------------------


def load_config(path: Path | None = None, *, environ: Mapping[str, str]) -> Config:
    """Read the file and the environment.

    Args:
        path: The file; `None` for `DEFAULT_PATH`, which need not be there.
        environ: The environment.

    Raises:
        ConfigError: Something is wrong.
    """
    loader = _Loader()
    loader.read_file(path)
    loader.read_environment(environ)
    return loader.config()


def secrets(environ: Mapping[str, str]) -> list[Setting]:
    """What the environment has of secrets, as settings that do not tell them; a path to one is told."""
    return [
        Setting(name, environ[variable] if variable.endswith("_FILE") else "***", variable)
        for name, variable in _SECRETS.items()
        if environ.get(variable)
    ]


class _Known(NamedTuple):
    kind: type[object]
    default: Value
    check: Check


class _Given(NamedTuple):
    value: Value
    source: str


class _Loader:
    def __init__(self) -> None:
        self._given: dict[tuple[str, str], _Given] = {}
        self._problems: list[str] = []

    def read_file(self, path: Path | None) -> None:
        named = path or DEFAULT_PATH
        try:
            text = named.read_text(encoding="utf-8")
        except FileNotFoundError:
            if path is not None:
                self._problems.append(f"{named}: there is no such file")
            return
        except (OSError, UnicodeDecodeError) as error:
            self._problems.append(f"{named}: cannot be read: {type(error).__name__}")
            return
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._problems.append(_syntax_problem(named, text, error))
            return
        for section, table in tables.items():
            self._take_table(section, table, named, text)

    def _take_table(self, section: str, table: object, path: Path, text: str) -> None:
        where = f"{path}:{_line_of(text, section)}"
        if section not in _SECTIONS:
            self._problems.append(f"{where}: unknown section [{section}]{_nearest(section, _SECTIONS)}")
        elif not isinstance(table, dict):
            self._problems.append(f"{where}: {section} is a section: write [{section}]")
        else:
            # The cast: keys of TOML are text.
            for name, value in cast("dict[str, object]", table).items():
                self._take(section, name, value, f"{path}:{_line_of(text, section, name)}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        known = {_variable(section, name): (section, name) for section, keys in _TABLE.items() for name in keys}
        for variable in sorted(environ):
            if variable in known:
                section, name = known[variable]
                self._take(section, name, _parsed(environ[variable], _TABLE[section][name].kind), variable)
            elif _VARIABLE.fullmatch(variable) or variable in _ONE_UNDERSCORE:
                self._problems.append(f"{variable}: unknown setting{_nearest(variable, known)}")

    def _take(self, section: str, name: str, value: object, source: str) -> None:
        known = _TABLE[section].get(name)
        if known is None:
            self._problems.append(f"{source}: unknown key {name} in [{section}]{_nearest(name, _TABLE[section])}")
            return
        if known.kind is float and type(value) is int:
            value = float(value)
        wrong = known.check(value) if type(value) is known.kind else f"must be {_KINDS[known.kind]}"
        if wrong is None:
            self._given[section, name] = _Given(cast("Value", value), source)  # just checked
        else:
            self._problems.append(f"{source}: {name} {wrong}, got {_shown(value)}")

    def config(self) -> Config:
        if not self._problems:
            presence, fanout = self._section(PresenceSettings), self._section(FanoutSettings)
            if presence.ttl_s <= presence.beat_s:
                self._disagree("presence", "ttl_s", f"must be more than beat_s, which is {presence.beat_s:g}")
            try:
                _ = fanout.limits
            except UsageError:
                self._disagree(
                    "fanout", "queued_upto", f"must be well above direct_below, which is {fanout.direct_below}"
                )
        if self._problems:
            raise ConfigError(self._problems)
        settings = tuple(
            Setting(f"{section}.{name}", *self._given.get((section, name), _Given(known.default, "default")))
            for section, keys in _TABLE.items()
            for name, known in keys.items()
        )
        return Config(
            server=self._section(ServerSettings),
            presence=self._section(PresenceSettings),
            fanout=self._section(FanoutSettings),
            limits=self._section(LimitSettings),
            settings=settings,
        )

    def _section(self, kind: type[T]) -> T:
        section = next(name for name, made in _SECTIONS.items() if made is kind)
        return kind(**{name: given.value for (where, name), given in self._given.items() if where == section})

    def _disagree(self, section: str, name: str, wrong: str) -> None:
        value, source = self._given.get((section, name), _Given(_TABLE[section][name].default, f"[{section}]"))
        self._problems.append(f"{source}: {name} {wrong}, got {_shown(value)}")


# ---- little things --------------------------------------------------------------------------------------------------

_KINDS: Final[Mapping[type[object], str]] = {str: "text in quotes", int: "a whole number", float: "a number"}


def _known(made: type[Any]) -> Mapping[str, _Known]:
    # The casts: `attrs` types what a field holds as `Any`.
    return {
        field.name: _Known(
            cast("type[object]", type(field.default)), cast("Value", field.default), field.metadata["check"]
        )
        for field in attrs.fields(made)
    }


_TABLE: Final = {section: _known(made) for section, made in _SECTIONS.items()}


def _variable(section: str, name: str) -> str:
    return f"{_PREFIX}{section}__{name}".upper()


# A slip of the pen, which would have no effect. Others that begin like that are not ours: Kubernetes sets
# WHISPERKIT_SERVER_PORT where a service is called so.
_ONE_UNDERSCORE: Final = frozenset(
    _variable(section, name).replace("__", "_") for section, keys in _TABLE.items() for name in keys
)


def _parsed(text: str, kind: type[object]) -> Value:
    """What an environment's text is as a value of this kind; unchanged if it is none."""
    try:
        return int(text) if kind is int else float(text) if kind is float else text
    except ValueError:
        return text


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _nearest(name: str, known: Collection[str]) -> str:
    found = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else f"; there is {', '.join(known)}"


def _syntax_problem(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    what, _, where = str(error).rpartition(" (at ")
    match = re.match(r"line (\d+)", where)
    line = match[1] if match else len(text.splitlines())  # "end of document"
    return f"{path}:{line}: this is not TOML: {what}"


def _line_of(text: str, section: str, name: str | None = None) -> int:
    """The line of a section, or of a key in it, in whichever way it is written; `tomllib` does not tell."""
    wanted = section if name is None else f"{section}.{name}"
    table, line_of_section = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        bare = re.sub(r"""[\s"']""", "", line)
        if bare.startswith("["):
            path = table = bare.strip("[").partition("]")[0]
        else:
            key, is_key, _ = bare.partition("=")
            path = ".".join(filter(None, (table, key))) if is_key and not key.startswith("#") else ""
        if f"{path}.".startswith(f"{wanted}."):
            return number
        if f"{path}.".startswith(f"{section}."):
            line_of_section = line_of_section or number
    return line_of_section or 1
