"""A whole chat under one seed: gateways, devices, wires and stores, and whatever a list of decisions does to them.

`simulate(plan)` runs the real `MessageService` and the real rules of the device over simulated doors, carries out the
decisions, lets five minutes pass in which nothing goes wrong, and says which promise broke, if one did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from whisperkit.errors import WhisperError
from whisperkit.fanout import Limits
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, UserId
from whisperkit.runtime import Runtime
from whisperkit.service import MessageService, ServiceConfig
from whisperkit.stores import (
    Bound,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    MemoryPartitions,
    PartitionStore,
    Stores,
)
from whisperkit.sync import conversation as conversations
from whisperkit.sync.frames import ByeCode, Frame, RosterChange
from whisperkit.testing.decisions import GROUPS, USERS, Decision, Plan
from whisperkit.testing.faulty import Fault
from whisperkit.testing.ledger import Ledger, Violation
from whisperkit.testing.lossy_wire import LossyWire, WireFates
from whisperkit.testing.sim_device import Order, SimDevice
from whisperkit.testing.sim_doors import (
    Fates,
    ObservedMarks,
    ObservedPartitions,
    SimBus,
    SimDirectory,
    SimJobs,
    SimMarks,
    SimPartitions,
)
from whisperkit.testing.sim_runtime import SimRuntime, SimWorld, run_now
from whisperkit.testing.stepwise import Stepwise
from whisperkit.transport import Hint, HintResult

__all__ = ["LIMITS", "MakeService", "Outcome", "Simulation", "simulate"]

# Six users are enough for every strategy.
LIMITS: Final = Limits(
    direct_below=4, direct_again_at=3, queued_upto=5, queued_again_at=4, batch_devices=2, batch_bytes=4_096
)
QUIET_S: Final = 300.0
LOOK_S: Final = 2.0
# A device takes its snapshot so long after it was linked: by then every list of devices has it.
LINK_S: Final = 15.0
# Six users and a dozen messages: whatever grows beyond this is not bounded by anything.
MAX_QUEUE: Final = 2_000
MAX_TASKS: Final = 2_000

MakeService = Callable[[Stores, str, Runtime, ServiceConfig], MessageService]
"""Makes the service of a gateway, given doors, name, runtime and config; tests give one that is broken."""


def _make_service(stores: Stores, name: str, runtime: Runtime, config: ServiceConfig) -> MessageService:
    return MessageService(stores, gateway=name, runtime=runtime, config=config)


def _config(gateway: str) -> ServiceConfig:
    """Real but for limits and patience: a run has to see gateways adopted and notes settled, and not to wait long.

    Two workers are enough to get into each other's way.
    """
    works_jobs = gateway.startswith(("g1", "g2"))
    return ServiceConfig(
        fanout=LIMITS, beat_s=5.0, lease_s=15.0, adopt_after_s=30.0, note_s=10.0, works_jobs=works_jobs
    )


class Outcome(NamedTuple):
    """What became of a run.

    Attributes:
        plan: What was decided.
        violation: The promise that broke; `None`: all were kept.
        at_s: The simulated time when the run ended.
        trace: A hash over all steps; equal for equal runs.
        steps: How many there were.
        deliveries: Messages that devices applied.
        acknowledged: Messages that were.
    """

    plan: Plan
    violation: Violation | None
    at_s: float
    trace: str
    steps: int
    deliveries: int
    acknowledged: int


def simulate(plan: Plan, *, store: PartitionStore | None = None, make_service: MakeService = _make_service) -> Outcome:
    """Run a plan to its end, or to the first broken promise.

    Args:
        plan: What is decided.
        store: The gateways' store, empty, whose calls wait for nothing; without one a store in memory.
        make_service: Makes the service of a gateway.
    """
    with _listening() as failures:
        simulation = Simulation(plan, store or MemoryPartitions(), make_service, failures)
        violation: Violation | None = None
        try:
            simulation.run()
        except Violation as broken:
            violation = broken
        except Exception as error:
            violation = Violation("raised", f"{error!r} {' '.join(getattr(error, '__notes__', ()))}")
            violation.__cause__ = error
        world = simulation.world
        outcome = Outcome(
            plan,
            violation,
            world.now,
            world.trace,
            world.steps,
            simulation.ledger.deliveries,
            len(simulation.ledger.acknowledged),
        )
        world.close()
    return outcome


class _Failures(logging.Handler):
    """Keeps what the service caught and logged, though it was no failure of a door."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, WhisperError):
            self.found.append(error)


@contextmanager
def _listening() -> Generator[list[BaseException]]:
    """Take the service's log for the time of a run."""
    log, handler = logging.getLogger("whisperkit"), _Failures()
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield handler.found
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


class _Gateway:
    """A place where a gateway runs, over all its lives; another name may take it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names = 1
        self.fates = Fates()
        self.life = 0
        self.runtime: SimRuntime | None = None
        self.service: MessageService | None = None
        self.is_serving = False
        self.wires: list[LossyWire] = []


class _Device:
    """A device over all its lives."""

    def __init__(self, device: DeviceId, store: PartitionStore) -> None:
        self.device = device
        self.store = store
        self.fates = Fates()
        self.wire_fates = WireFates()
        self.life = 0
        self.runtime: SimRuntime | None = None
        self.program: SimDevice | None = None
        self.wire: LossyWire | None = None
        self.is_gone = False


class Simulation:
    """One run. Made and driven by `simulate`.

    Args:
        plan: What is decided.
        store: The gateways' store, empty.
        make_service: Makes the service of a gateway.
        failures: Where exceptions are found that the service caught.
    """

    def __init__(
        self, plan: Plan, store: PartitionStore, make_service: MakeService, failures: list[BaseException]
    ) -> None:
        self.plan = plan
        self.world = SimWorld(plan.seed)
        self._names: dict[str, str] = {UserId.named(user): user for user in USERS}
        self.ledger = Ledger(lambda: self.world.now, self._named)
        self._make_service = make_service
        self._failures = failures
        seen = ObservedPartitions(store, self.ledger.committed)
        self._partitions: PartitionStore = seen if plan.spans else Stepwise(seen)
        self._marks = ObservedMarks(MemoryMarks(), self.ledger.raised)
        self._jobs = _ObservedJobs(self.ledger, now=lambda: self.world.now)
        self._directory = MemoryDirectory(now=lambda: self.world.now)
        self._blobs = MemoryBlobs()
        self._takers: dict[GatewayId, tuple[SimRuntime, Callable[[Sequence[Hint]], Sequence[HintResult]]]] = {}
        self._deaf_until = 0.0
        self._gateways = {f"g{n}": _Gateway(f"g{n}") for n in range(1, plan.gateways + 1)}
        self._devices: dict[str, _Device] = {}
        self._chats = {name: ConversationId(name) for name in GROUPS}
        self._direct: dict[ConversationId, tuple[UserId, UserId]] = {}
        self._is_calm = False

    def _named(self, text: str) -> str:
        user, _, number = text.partition(".")
        name = self._names.get(user, user)
        return f"{name}.{number}" if number else name

    # ---- the whole run ----

    def run(self) -> None:
        """Set up, carry out the decisions, and wait for quiet.

        Raises:
            Violation: A promise broke.
        """
        self._set_up()
        start = self.world.now
        for decision in self.plan.decisions:
            self.world.at(decision.at_s, partial(self._decide, decision), label=str(decision))
        last = max((decision.at_s for decision in self.plan.decisions), default=0.0)
        self._advance(start + last + 1.0)
        self._calm()
        self._wait_for_quiet()

    def _advance(self, upto_s: float) -> None:
        self.world.run(upto_s=upto_s)
        if self._failures:
            raise self._failures[0]
        for runtime in self._runtimes():
            if runtime.longest_queue > MAX_QUEUE or runtime.tasks > MAX_TASKS:
                raise Violation("unbounded", f"{runtime.name}: {runtime.longest_queue} queued, {runtime.tasks} tasks")

    def _runtimes(self) -> Iterator[SimRuntime]:
        for runtime in [
            *(gateway.runtime for gateway in self._gateways.values()),
            *(device.runtime for device in self._devices.values()),
        ]:
            if runtime is not None:
                yield runtime

    def _set_up(self) -> None:
        """Users, conversations and gateways; nothing goes wrong yet."""
        for gateway in self._gateways.values():
            self._start_gateway(gateway)
        self.world.run(until=lambda: all(gateway.is_serving for gateway in self._gateways.values()), upto_s=60.0)
        users = [UserId.named(user) for user in USERS]
        ready: list[bool] = []

        async def populate() -> None:
            service = self._gateways["g1"].service
            assert service is not None  # it serves
            await service.register(*(DeviceId(user, 1) for user in users))
            for name, members in GROUPS.items():
                await service.create_conversation(
                    [UserId.named(member) for member in members], conversation=self._chats[name]
                )
            for one, other in ((0, 1), (0, 2), (1, 2)):
                await service.create_conversation([users[one], users[other]])
            ready.append(True)

        runtime = self._gateways["g1"].runtime
        assert runtime is not None  # it serves
        runtime.spawn(populate, name="populate")
        for one, other in ((0, 1), (0, 2), (1, 2)):
            pair = users[one], users[other]
            self._direct[ConversationId.direct(*pair)] = pair
            self._names[ConversationId.direct(*pair)] = f"{USERS[one]}+{USERS[other]}"
        self.world.run(until=lambda: bool(ready), upto_s=120.0)
        if not ready:
            raise Violation("stuck", "users and conversations were not made within two minutes")
        self.ledger.populated_at = self.world.now
        for user in users:
            self._add_device(DeviceId(user, 1))

    # ---- gateways ----

    def _start_gateway(self, gateway: _Gateway) -> None:
        gateway.life += 1
        runtime = self.world.runtime(gateway.name, life=gateway.life)
        service = self._make_service(self._stores(gateway, runtime), gateway.name, runtime, _config(gateway.name))
        gateway.runtime, gateway.service = runtime, service
        runtime.killed = partial(self._gateway_killed, gateway)

        async def start() -> None:
            while True:
                try:
                    await service.start()
                except WhisperError:
                    await runtime.sleep(1.0)  # its store is away
                else:
                    break
            gateway.is_serving = True

        runtime.spawn(start, name="start")

    def _stores(self, gateway: _Gateway, runtime: SimRuntime) -> Stores:
        partitions = SimPartitions(runtime, gateway.fates, self._partitions)
        directory = SimDirectory(runtime, gateway.fates, self._directory)
        bus = SimBus(runtime, self._takers, lambda: self.world.now < self._deaf_until)
        if self.plan.partition_marks:
            return Stores.over(partitions, directory=directory, bus=bus, blobs=self._blobs, runtime=runtime)
        return Stores(
            partitions=partitions,
            marks=SimMarks(runtime, gateway.fates, self._marks),
            directory=directory,
            jobs=SimJobs(runtime, gateway.fates, self._jobs),
            blobs=self._blobs,
            rosters=None,
            bus=bus,
        )

    def _crash_gateway(self, name: str, seconds: float) -> None:
        gateway = self._gateways[name]
        if gateway.runtime is None:
            return
        gateway.runtime.crash()
        self._gateway_died(gateway)
        if seconds:
            self.world.at(seconds, partial(self._start_gateway, gateway), label=f"start {name}")

    def _replace_gateway(self, place: str, seconds: float) -> None:
        """Nobody will ever come back under the name that it had."""
        gateway = self._gateways[place]
        if gateway.runtime is None:
            return
        self._crash_gateway(place, 0.0)
        gateway.names += 1
        gateway.name = f"{place}-{gateway.names}"
        self.world.at(seconds, partial(self._start_gateway, gateway), label=f"start {gateway.name}")

    def _gateway_died(self, gateway: _Gateway) -> None:
        gateway.runtime = gateway.service = None
        gateway.is_serving = False
        for wire in gateway.wires:
            wire.cut(gateway_hears_s=0.0, device_hears_s=0.05)
        gateway.wires.clear()

    def _gateway_killed(self, gateway: _Gateway) -> None:
        """A fate of a door killed it: it is started again after a second."""
        self._gateway_died(gateway)
        self.world.at(1.0, partial(self._start_gateway, gateway), label=f"start {gateway.name}")

    def _pause(self, name: str, seconds: float) -> None:
        runtime = self._gateways[name].runtime
        if runtime is not None:
            runtime.pause()
            self.world.at(seconds, runtime.resume, label=f"{name} goes on")

    # ---- devices ----

    def _add_device(self, device: DeviceId) -> None:
        name = self._named(device)
        if name in self._devices:
            return
        memory = ObservedPartitions(MemoryPartitions(), partial(self.ledger.saved, device))
        self._devices[name] = _Device(device, memory)
        self._start_device(self._devices[name])

    def _start_device(self, device: _Device) -> None:
        if device.is_gone:
            return
        device.life += 1
        device.runtime = self.world.runtime(self._named(device.device), life=device.life)
        device.runtime.killed = partial(self._device_killed, device)
        store = SimPartitions(device.runtime, device.fates, device.store)
        device.program = SimDevice(device.runtime, device.device, store, self)
        device.runtime.spawn(device.program.run, name="program")
        if self._is_calm:
            self._open_all(device.program)

    def _kill_device(self, name: str, seconds: float) -> None:
        device = self._devices.get(name)
        if device is not None and device.runtime is not None:
            device.runtime.crash()
            self._device_died(device)
            device.is_gone = not seconds
            self.world.at(seconds, partial(self._start_device, device), label=f"start {name}")

    def _device_killed(self, device: _Device) -> None:
        self._device_died(device)
        self.world.at(1.0, partial(self._start_device, device), label=f"start {device.device}")

    def _device_died(self, device: _Device) -> None:
        device.runtime = device.program = None
        if device.wire is not None:
            device.wire.cut(gateway_hears_s=0.05, device_hears_s=0.0)

    # ---- what devices ask of the world ----

    def connect(
        self, device: DeviceId, *, came: Callable[[LossyWire, bytes], None], ended: Callable[[LossyWire], None]
    ) -> LossyWire | None:
        """Open a connection to one of the gateways that serve; see `DeviceHost`."""
        there = self._devices[self._named(device)]
        serving = [gateway for gateway in self._gateways.values() if gateway.is_serving]
        runtime = there.runtime
        if not serving or runtime is None:
            return None
        gateway = serving[int(runtime.chance() * len(serving))]
        service = gateway.service
        assert gateway.runtime is not None  # it serves
        assert service is not None  # as well
        wire = LossyWire(
            runtime,
            gateway.runtime,
            there.wire_fates,
            attach=lambda send, close: service.attach(device, send=send, close=close),
            came=lambda data: came(wire, data),  # pyright: ignore[reportUnknownLambdaType]  # as `attach` says
            ended=lambda: ended(wire),
        )
        gateway.wires.append(wire)
        there.wire = wire
        return wire

    def heard(self, device: DeviceId, frame: Frame) -> None:
        """A frame reached a device; see `DeviceHost`."""
        program = self._devices[self._named(device)].program
        self.ledger.heard(device, frame, has_cursor=program is not None and program.mirror.cursor is not None)

    def ended(self, device: DeviceId, code: ByeCode, *, is_damaged: bool) -> bool:
        """The server ended a connection; see `DeviceHost`."""
        there = self._devices[self._named(device)]
        if code is ByeCode.SUPERSEDED:
            raise Violation("superseded", f"{self._named(device)} has one connection, and was sent away for another")
        if code is ByeCode.PROTOCOL and not is_damaged:
            raise Violation("protocol", f"{self._named(device)} was told that it broke the protocol")
        if code is ByeCode.UNAUTHORISED and device not in self.ledger.linked.get(device.user, ()):
            there.is_gone = True
            return False
        return True

    def linked(self, device: DeviceId, number: int) -> None:
        """A device that was linked begins, when every list of devices has it; see `DeviceHost`."""
        new = DeviceId(device.user, number)
        self.world.at(LINK_S, partial(self._add_device, new), label=f"link {new}")

    def devices_of(self, conv: ConversationId) -> Iterable[DeviceId]:
        """A first guess, before anybody linked anything; see `DeviceHost`."""
        return [DeviceId(user, 1) for user in self._direct.get(conv, ())]

    # ---- decisions ----

    def _decide(self, decision: Decision) -> None:
        args = decision.args
        match decision.verb:
            case "crash":
                self._crash_gateway(args[0], float(args[1]))
            case "replace":
                self._replace_gateway(args[0], float(args[1]))
            case "pause":
                self._pause(args[0], float(args[1]))
            case "door":
                self._arm(args[0], args[1], Fault[args[2].upper()])
            case "wire":
                if args[0] in self._devices:
                    self._devices[args[0]].wire_fates.arm(args[1], args[2])
            case "cut":
                self._cut(args[0], float(args[1]))
            case "die":
                self._kill_device(args[0], float(args[1]))
            case "empty":
                self._directory.empty()
            case "deaf":
                self._deaf_until = self.world.now + float(args[0])
            case "slow":
                self.world.slow_until = self.world.now + float(args[0])
            case _:
                self._person(decision)

    def _arm(self, name: str, door: str, fault: Fault) -> None:
        node = self._gateways.get(name) or self._devices.get(name)
        if node is not None:
            node.fates.arm(door, fault)

    def _cut(self, name: str, seconds: float) -> None:
        device = self._devices.get(name)
        if device is not None and device.wire is not None:
            device.wire.cut(gateway_hears_s=seconds, device_hears_s=0.05)

    def _person(self, decision: Decision) -> None:
        device = self._devices.get(decision.args[0])
        program = None if device is None else device.program
        if device is None or program is None:
            return
        what = decision.args[1]
        match decision.verb:
            case "link" | "unlink":
                if decision.verb == "link" or f"{self._named(device.device.user)}.{what}" in self._devices:
                    program.box.put(Order(decision.verb, number=int(what)))
            case "add" | "remove":
                user = (UserId.named(decision.args[2]),)
                change = RosterChange(added=user) if decision.verb == "add" else RosterChange(removed=user)
                program.box.put(Order("change", self._chats[what], change))
            case verb:
                conv = self._chats.get(what) or ConversationId.direct(device.device.user, UserId.named(what))
                program.box.put(Order(verb, conv))

    # ---- quiet ----

    def _calm(self) -> None:
        """From here on nothing goes wrong."""
        for gateway in self._gateways.values():
            gateway.fates.disarm()
        for device in self._devices.values():
            device.fates.disarm()
        for device in self._devices.values():
            device.wire_fates.disarm()
        self._deaf_until = self.world.slow_until = 0.0
        self._is_calm = True
        for device in self._devices.values():
            if device.program is not None:
                self._open_all(device.program)

    def _open_all(self, program: SimDevice) -> None:
        """What is pulled is owed where it is on screen."""
        for conv in (*self._chats.values(), *self._direct):
            program.box.put(Order("open", conv))

    def _wait_for_quiet(self) -> None:
        """Five minutes without a fault are enough for everything that is owed."""
        until = self.world.now + QUIET_S
        while True:
            self._advance(self.world.now + LOOK_S)
            missing = next(self._owed(), None)
            if missing is None:
                return
            if self.world.now >= until:
                raise missing

    def _owed(self) -> Iterator[Violation]:
        """What is missing yet."""
        if any(gateway.runtime is not None and gateway.runtime.is_paused for gateway in self._gateways.values()):
            yield Violation("paused", "a gateway stands still")
        linked = [device for device in self._devices.values() if self._is_linked(device)]
        yield from self.ledger.owed([device.device for device in linked])
        for device in linked:
            yield from self._owed_by(device)
        yield from self._owed_by_gateways()

    def _is_linked(self, device: _Device) -> bool:
        """Whether the device is owed anything: not if it was unlinked, nor if it lies at the bottom of a lake."""
        return not device.is_gone and device.device in self.ledger.linked.get(device.device.user, ())

    def _owed_by(self, device: _Device) -> Iterator[Violation]:
        name, program = self._named(device.device), device.program
        if program is None or program.is_gone or program.mirror.head is None:
            yield Violation("offline", name)
            return
        for conv, box in program.outboxes.items():
            if box.pending:
                yield Violation("unanswered", f"{name} waits for {len(box.pending)} answers in {self._named(conv)}")
        mirror = program.mirror
        if mirror.cursor != mirror.head:
            yield Violation("behind", f"{name} is at {mirror.cursor}, the head is {mirror.head}")
        bound = run_now(self._directory.lookup([device.device]))[device.device]
        if not isinstance(bound, Bound) or bound.binding.connection_no != program.connection_no:
            yield Violation("directory", f"{name} has connection {program.connection_no}, the directory says {bound}")
        yield from self._wrong_ticks(device, program)

    def _wrong_ticks(self, device: _Device, program: SimDevice) -> Iterator[Violation]:
        """What a sender sees of a message is what the marks say; in a hall nobody is told of others."""
        for sender, conv, _, _ in self.ledger.acknowledged.values():
            if sender != device.device or not program.is_member(conv):
                continue
            where = conversations.partition(conv)
            for (partition, name), value in self.ledger.marks.items():
                kind, _, user = name.partition("/")
                if partition != where or kind not in ("delivered", "read"):
                    continue
                if conv in self.ledger.halls and user != device.device.user:
                    continue
                shown = {
                    mark.name.lower(): seq for (c, u, mark), seq in program.shown.items() if c == conv and u == user
                }
                if shown.get(kind, 0) != value:
                    yield Violation("ticks", f"{self._named(device.device)} shows {shown}, {name} is {value}")

    def _owed_by_gateways(self) -> Iterator[Violation]:
        for gateway in self._gateways.values():
            if gateway.service is None or not gateway.is_serving:
                continue
            owed, oldest_s = gateway.service.gateway.finisher.owed()
            if owed:
                yield Violation("unfinished", f"{gateway.name} finishes {owed} conversations, for {oldest_s:.0f} s")
        running = {gateway.name for gateway in self._gateways.values() if gateway.runtime is not None}
        for name in self.ledger.listed.keys() - running:
            yield Violation("not adopted", f"{name} is gone, and still listed")


class _ObservedJobs(MemoryJobs):
    """Jobs in memory; the ledger hears of each."""

    def __init__(self, ledger: Ledger, *, now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self._ledger = ledger

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        """Add a job; see `JobLog.put`."""
        await super().put(conversation, upto)
        self._ledger.job_put(conversation, upto)
