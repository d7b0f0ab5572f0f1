"""How gateways over one PostgreSQL find and wake each other: a directory in its tables, and NOTIFY as the bus.

Both are ephemeral. The directory's tables are unlogged: cheap to write, and empty after a crash of the server, which
costs time and never a message. What NOTIFY carries is heard by whoever listens at that moment, and by nobody later.

A gateway needs a name that is its own, and the same after a restart. `open_bus` takes the first number that no other
process holds, by an advisory lock on the connection that listens: a process that is killed loses the connection, so
the one that takes its place has its name, and finishes at once what it left unfinished.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest
from itertools import count
from typing import Final

import asyncpg

from examples.adapters.postgres import Connection, Pool
from whisperkit.errors import PeerError
from whisperkit.ids import DeviceId, GatewayId, Owner
from whisperkit.stores import Absent, Binding, Bound, Kept, Lookup, Newer, Token, Unbound, Unknown
from whisperkit.stores.memory import FORGET_S, YOUNG_S
from whisperkit.transport import Hint, HintResult

__all__ = ["MAX_PAYLOAD_CHARS", "NotifyBus", "PostgresDirectory", "open_bus", "payloads", "read_payload"]

log = logging.getLogger("examples.adapters.postgres")

# ---- the bus --------------------------------------------------------------------------------------------------------

# A payload of NOTIFY is shorter than 8,000 bytes; ours is ASCII.
MAX_PAYLOAD_CHARS: Final = 7_999
# The first number of the locks that names of gateways are; any that no other program locks in the same database.
_NAMES: Final = 0x776B
_NOTIFY: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_LOCK: Final = "SELECT pg_try_advisory_lock($1, $2)"


class NotifyBus:
    """A `Bus` over NOTIFY, of which nothing comes back; `open_bus` makes it.

    Attributes:
        gateway: The name of this gateway, which no other process has.
    """

    gateway: GatewayId

    def __init__(self, pool: Pool, *, retry_s: float) -> None:
        self._pool = pool
        self._retry_s = retry_s
        self._number = 0
        self._take: Callable[[Sequence[Hint]], object] | None = None

    def join(self, take: Callable[[Sequence[Hint]], object]) -> None:
        """Hear hints from now on.

        Args:
            take: Takes them: `Gateway.take_hints` of the service that has this bus.
        """
        self._take = take

    async def hint(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult]:
        """Tell another gateway of news; see `Bus.hint`."""
        await self._pool.execute(_NOTIFY, _channel(gateway), list(payloads(hints)))
        return [None] * len(hints)

    async def listen(self, listens: asyncio.Event) -> None:
        """Listen, and again if the connection is lost, until cancelled.

        Args:
            listens: Set once this gateway has its name and hears.

        Raises:
            OSError: The first connection cannot be made; or asyncpg raises an error of its own.
        """
        while True:
            try:
                async with self._pool.acquire() as db:
                    await self._take_name(db)
                    await self._listen_on(db, listens)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if not listens.is_set():
                    raise
                log.warning("not listening; heads ride in the beats meanwhile", exc_info=True)
            await asyncio.sleep(self._retry_s)

    async def _take_name(self, db: Connection) -> None:
        """Take a name, or after a loss of the connection the one of before, which somebody may have taken meanwhile.

        Two gateways of one name are safe, and hear each other's hints: the later one has the higher incarnation.
        """
        if self._number:
            await db.fetchval(_LOCK, _NAMES, self._number)
            return
        for number in count(1):
            if await db.fetchval(_LOCK, _NAMES, number):
                self._number, self.gateway = number, GatewayId(f"worker-{number}")
                return

    async def _listen_on(self, db: Connection, listens: asyncio.Event) -> None:
        ended = asyncio.Event()

        def end(_: object) -> None:
            ended.set()

        channel = _channel(self.gateway)
        await db.add_listener(channel, self._heard)
        db.add_termination_listener(end)
        try:
            listens.set()
            await ended.wait()
        finally:
            db.remove_termination_listener(end)
            await db.remove_listener(channel, self._heard)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            hints = read_payload(str(payload))
        except (PeerError, ValueError):
            log.warning("not a hint; somebody else notifies on this channel")
            return
        if self._take is not None:
            self._take(hints)


@asynccontextmanager
async def open_bus(pool: Pool, *, retry_s: float = 1.0) -> AsyncGenerator[NotifyBus]:
    """Take a name and listen, on a connection of the pool that is kept for it.

    Args:
        pool: With room for one connection more than the application wants.
        retry_s: After so long a lost connection is made again.
    """
    bus = NotifyBus(pool, retry_s=retry_s)
    listens = asyncio.Event()
    listening = asyncio.create_task(bus.listen(listens))
    ready = asyncio.create_task(listens.wait())
    try:
        await asyncio.wait((listening, ready), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await listening  # it has failed
        yield bus
    finally:
        ready.cancel()
        listening.cancel()
        await asyncio.wait((listening, ready))


def payloads(hints: Sequence[Hint]) -> Iterator[str]:
    """Put hints into as few payloads as there can be; an entry that does not fit stays behind."""
    lines: list[str] = []
    chars = 0
    for hint in hints:
        line = _line(hint)
        if lines and chars + len(line) + 1 > MAX_PAYLOAD_CHARS:
            yield "\n".join(lines)
            lines, chars = [], 0
        lines.append(line)
        chars += len(line) + 1
    if lines:
        yield "\n".join(lines)


def _line(hint: Hint) -> str:
    line = f"{hint.device} {hint.head}"
    if hint.entry is None:
        return line
    whole = f"{line} {b64encode(hint.entry).decode()}"
    return whole if len(whole) < MAX_PAYLOAD_CHARS else line


def read_payload(text: str) -> list[Hint]:
    """Read what `payloads` wrote.

    Raises:
        ValueError: It did not; or `MalformedIdError`.
    """
    hints: list[Hint] = []
    for line in text.split("\n"):
        device, head, *entry = line.split(" ")
        hints.append(Hint(DeviceId.parse(device), int(head), b64decode(entry[0], validate=True) if entry else None))
    return hints


def _channel(gateway: GatewayId) -> str:
    return f"wk_{gateway}"


# ---- the directory --------------------------------------------------------------------------------------------------

_BINDINGS: Final = """
    SELECT device, connection_no, gateway, incarnation, token, coalesce(until > clock_timestamp(), false) AS lives
    FROM wk_binding LEFT JOIN wk_lease USING (gateway, incarnation) WHERE device = ANY($1::text[])"""
_BIND: Final = """
    INSERT INTO wk_binding VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (device) DO UPDATE SET connection_no = $2, gateway = $3, incarnation = $4, token = $5
    WHERE wk_binding.connection_no <= $2"""
_UNBIND: Final = "DELETE FROM wk_binding WHERE device = $1 AND token = $2"
_IS_YOUNG: Final = "SELECT NOT EXISTS (SELECT FROM wk_young WHERE until <= clock_timestamp())"
_GROW_UP: Final = f"""
    INSERT INTO wk_young (until) VALUES (clock_timestamp() + interval '{YOUNG_S} s') ON CONFLICT DO NOTHING"""
_RENEW: Final = """
    INSERT INTO wk_lease VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
    ON CONFLICT (gateway, incarnation) DO UPDATE SET until = excluded.until"""
_FORGET_LEASES: Final = f"DELETE FROM wk_lease WHERE until <= clock_timestamp() - interval '{FORGET_S} s'"
_FORGET_BINDINGS: Final = """
    DELETE FROM wk_binding WHERE NOT EXISTS (
        SELECT FROM wk_lease
        WHERE wk_lease.gateway = wk_binding.gateway AND wk_lease.incarnation = wk_binding.incarnation)"""
_LIVING: Final = """
    SELECT gateway, incarnation FROM wk_lease WHERE gateway = ANY($1::text[]) AND until > clock_timestamp()"""


class PostgresDirectory:
    """A `Directory` that all gateways over one database share; its clock is the database's.

    It is young from the first lease after its tables were made, or emptied by a crash of the server.

    Args:
        pool: Of a database that `migrate` has seen.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def bind(self, batch: Sequence[Binding]) -> Sequence[Bound | Newer]:
        """Say that devices are connected; see `Directory.bind`."""
        for device, connection_no, owner, token in batch:
            await self._pool.execute(_BIND, device, connection_no, *owner, token)
        there = await self._bindings([binding.device for binding in batch])
        answers: list[Bound | Newer] = []
        for binding in batch:
            found = there.get(binding.device, (binding, True))[0]
            answers.append(Newer(found) if found.connection_no > binding.connection_no else Bound(binding))
        return answers

    async def keep(self, batch: Sequence[Binding]) -> Sequence[Kept | Absent | Newer]:
        """Look whether bindings stand; they last as long as their gateway's lease. See `Directory.keep`."""
        there = await self._bindings([binding.device for binding in batch])
        return [_kept(binding, there[binding.device][0] if binding.device in there else None) for binding in batch]

    async def unbind(self, device: DeviceId, token: Token) -> None:
        """Take a binding away; see `Directory.unbind`."""
        await self._pool.execute(_UNBIND, device, token)

    async def lookup(self, devices: Collection[DeviceId]) -> Mapping[DeviceId, Lookup]:
        """Find devices; see `Directory.lookup`."""
        there = await self._bindings(devices)
        found: dict[DeviceId, Lookup] = {device: Bound(binding) for device, (binding, lives) in there.items() if lives}
        missing = [device for device in devices if device not in found]
        if missing:
            is_young = await self._pool.fetchval(_IS_YOUNG)
            found |= {device: Unknown(device) if is_young else Unbound(device) for device in missing}
        return found

    async def alive(self, owner: Owner, ttl_s: float) -> None:
        """Renew a lease, and forget those that ended long ago, with their bindings; see `Directory.alive`."""
        await self._pool.execute(_RENEW, *owner, ttl_s)
        await self._pool.execute(_GROW_UP)
        if (await self._pool.execute(_FORGET_LEASES)) != "DELETE 0":
            await self._pool.execute(_FORGET_BINDINGS)

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        """Find owners without a lease; see `Directory.gone`."""
        if await self._pool.fetchval(_IS_YOUNG):
            return frozenset()
        living = await self._pool.fetch(_LIVING, [owner.gateway for owner in owners])
        return frozenset(owners) - {Owner(GatewayId(name), incarnation) for name, incarnation in living}

    async def _bindings(self, devices: Collection[DeviceId]) -> dict[DeviceId, tuple[Binding, bool]]:
        """The bindings that are there, and whether their gateways live."""
        found: dict[DeviceId, tuple[Binding, bool]] = {}
        for name, number, gateway, incarnation, token, lives in await self._pool.fetch(_BINDINGS, list(devices)):
            device = DeviceId.parse(name)
            found[device] = Binding(device, number, Owner(GatewayId(gateway), incarnation), Token(token)), lives
        return found


def _kept(binding: Binding, there: Binding | None) -> Kept | Absent | Newer:
    if there is not None and compare_digest(there.token, binding.token):
        return Kept(there)
    # A lower or equal number there is no displacement: an older connection may have bound first.
    if there is None or there.connection_no <= binding.connection_no:
        return Absent(binding.device)
    return Newer(there)
