"""The reference server as one object: opened, it serves; closed, it has drained.

Everything is joined here and nothing is decided here: storage (`examples.adapters`), the network (`examples.net`),
the flows (`whisperkit.service`) and the numbers (`examples.metrics`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from examples.adapters.files import FileBlobs
from examples.adapters.sqlite import MIGRATIONS, SqliteStore, open_sqlite
from examples.config import Config
from examples.metrics import Metrics
from examples.net.blob_http import BlobHttp, BlobLimits
from examples.net.health import Health
from examples.net.websocket import Channel, Receiver
from examples.net.websocket_server import WebSocketServer
from examples.server.counting import CountedBlobs, CountedMarks, CountedPartitions, CountingHook
from examples.server.tokens import Tokens
from whisperkit._version import __version__
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import StoreError
from whisperkit.partitions import Partition
from whisperkit.ratchet import verify
from whisperkit.service import AttachedLink, MessageService, ServiceConfig
from whisperkit.stores import PartitionJobs, PartitionStore, Stores
from whisperkit.sync.codec import is_json

__all__ = ["ChatServer", "Farewell", "open_server"]

log = logging.getLogger("examples.server")


class _DeviceReceiver:
    """A WebSocket, joined to a link of the service."""

    def __init__(self, service: MessageService, channel: Channel) -> None:
        self._channel = channel
        self._link: AttachedLink = service.attach(
            None, send=self._send, close=channel.close, backlog=lambda: channel.write_backlog
        )
        self.receive = self._link.receive

    def _send(self, data: bytes) -> None:
        self._channel.send(data.decode() if is_json(data) else data)

    def paused(self) -> None:
        """The service looks at the backlog itself, and its windows bound what is on its way."""

    def drained(self) -> None:
        """See `paused`."""

    def closed(self) -> None:
        """The connection has ended."""
        self._link.detach()


class Farewell(NamedTuple):
    """How a server ended.

    Attributes:
        links: How many links there were, each of which was told goodbye.
        unsaved: Of how many of them what they acknowledged may not be saved: their devices say it again.
        cut: How many connections did not end by themselves in time.
    """

    links: int
    unsaved: int
    cut: int


class ChatServer:
    """A server that listens.

    Attributes:
        service: The service behind it.
        metrics: What it counts.
        host: Where it listens.
        port: The real one, if any free one was asked for.
        schema: Of the database.
        farewell: How it ended; `None` until then.
    """

    def __init__(
        self,
        service: MessageService,
        network: WebSocketServer,
        health: Health,
        metrics: Metrics,
        address: tuple[str, int],
    ) -> None:
        self.service = service
        self.metrics = metrics
        self.host, self.port = address
        self.schema = len(MIGRATIONS)
        self.farewell: Farewell | None = None
        self._network = network
        self._health = health

    @property
    def url(self) -> str:
        """Where devices connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}/ws"

    async def drain(self, *, patience_s: float) -> None:
        """Say goodbye, save what was acknowledged, and wait for connections to end; once, when the server is closed."""
        self._health.drain()
        links = unsaved = len(self.service.gateway.open_links)
        began = time.monotonic()
        log.info("draining", extra={"links": links, "patience_s": patience_s})

        async def say_goodbye() -> None:
            nonlocal unsaved
            try:
                await self.service.drain()
                unsaved = 0
            except StoreError:
                log.warning("acknowledgements not saved", extra={"links": links}, exc_info=True)

        ended = await self._network.drain(say_goodbye, within_s=patience_s)
        self.farewell = Farewell(links, unsaved, ended.cut)
        log.info("drained", extra={**self.farewell._asdict(), "seconds": round(time.monotonic() - began, 3)})


@asynccontextmanager
async def open_server(
    config: Config,
    *,
    wrap: Callable[[SqliteStore], PartitionStore] | None = None,
    runtime: AnyioRuntime | None = None,
) -> AsyncGenerator[ChatServer]:
    """Open the database and listen.

    Args:
        config: See `examples.config`.
        wrap: Puts something between the service and the database, as tests do: a store that cannot span partitions,
            or one that breaks its promises.
        runtime: The service's; another one tells another time.

    Raises:
        StoreError: The database cannot be opened.
        OSError: The address is taken.
    """
    async with open_sqlite(config.server.sqlite_path) as sqlite, runtime or AnyioRuntime() as runtime:
        metrics = Metrics(version=__version__, profile=config.server.profile, schema=len(MIGRATIONS))
        blobs = CountedBlobs(FileBlobs(config.server.blob_path), metrics)
        partitions = CountedPartitions(sqlite if wrap is None else wrap(sqlite), metrics)
        jobs = PartitionJobs(partitions)
        await jobs.release()  # the file is locked: whoever had claimed any is dead
        stores = Stores.over(partitions, marks=CountedMarks(sqlite, metrics), jobs=jobs, blobs=blobs)
        service = MessageService(
            stores,
            config=_service_config(config, sqlite),
            gateway="embedded",
            verify=verify,
            hook=CountingHook(metrics),
            runtime=runtime,
        )
        metrics.ask([metrics.jobs_pending, metrics.job_oldest], jobs.pending)
        metrics.ask([metrics.blobs_orphaned], lambda: _overdue(service))
        async with service, _listening(config, service, sqlite, blobs, metrics) as server:
            yield server


async def _overdue(service: MessageService) -> Sequence[float]:
    return [await service.gateway.attachments.overdue()]


@asynccontextmanager
async def _listening(
    config: Config, service: MessageService, sqlite: SqliteStore, blobs: CountedBlobs, metrics: Metrics
) -> AsyncGenerator[ChatServer]:
    tokens = Tokens(service)
    health = Health({"sqlite": lambda: sqlite.heads([Partition("health")])})
    http = BlobHttp(
        blobs,
        service.gateway.attachments,
        tokens.user_of,
        wall_ms=service.gateway.core.runtime.wall_ms,
        limits=BlobLimits(max_blob_bytes=config.limits.blob_bytes),
        settle=blobs.settle,
        moved=metrics.count_blob_bytes,
    )
    network = WebSocketServer(
        lambda channel, _path: _receiver(service, channel),
        routes=[*health.routes, *metrics.routes, *tokens.routes, *http.routes],
        limits=config.limits.edge,
    )
    address = await network.listen(*config.server.address)
    server = ChatServer(service, network, health, metrics, address)
    where = {"host": server.host, "port": server.port, "profile": config.server.profile}
    log.info("listening", extra={**where, "version": __version__, "schema": server.schema, "epoch": sqlite.epoch})
    patience_s = 0.0  # nobody is waited for when something broke
    try:
        yield server
        patience_s = config.limits.drain_s
    finally:
        await server.drain(patience_s=patience_s)


def _receiver(service: MessageService, channel: Channel) -> Receiver:
    return _DeviceReceiver(service, channel)


def _service_config(config: Config, sqlite: SqliteStore) -> ServiceConfig:
    return ServiceConfig(
        fanout=config.fanout.limits,
        epoch=sqlite.epoch,
        presence_ttl_s=config.presence.ttl_s,
        presence_grace_s=config.presence.grace_s,
        hello_s=config.limits.handshake_s,
    )
