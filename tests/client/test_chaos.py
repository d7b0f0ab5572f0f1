"""Everything at once, from one seed: stores that fail, wires that lose, phones and servers that die."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from whisperkit import ConversationId, MessageId
from whisperkit.errors import StoreError
from whisperkit.receipts import MessageStatus
from whisperkit.testing import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone

FAULTS = (Fault.CONFLICT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER)
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


async def write(phone: SimPhone, conv: ConversationId, text: str, taken: dict[str, tuple[SimPhone, MessageId]]) -> None:
    """Write a message; only what the store took counts."""
    try:
        taken[text] = phone, await phone.client.send(conv, text)
    except StoreError:
        return


def harm(net: ChatNet, victim: SimPhone, random: Random) -> None:
    """Let something go wrong."""
    match random.choice(("die", "fly", "wire", "store", "store", "crash", "away", "server", "nothing")):
        case "die":
            victim.fates.disarm()
            victim.restart()
        case "fly":
            victim.fly()
            net.wait(random.random())
            victim.land()
        case "wire":
            victim.wire_fates.arm(random.choice(("up", "down")), random.choice(("lost", "doubled", "late")))
        case "store":
            for _ in range(random.randrange(1, 4)):
                victim.fates.arm(random.choice(("commit", "read")), random.choice(FAULTS))
        case "crash":
            for _ in range(random.randrange(6)):
                victim.fates.arm("commit", Fault.NONE)
            victim.fates.arm("commit", random.choice(CRASHES))
        case "away":
            for _ in range(60):
                victim.fates.arm("commit", random.choice(FAULTS[1:]))
                victim.fates.arm("read", Fault.UNKNOWN_BEFORE)
        case "server":
            net.server.crash()
            net.wait(random.random())
            net.server.start()
            for phone in net.phones:
                if phone.link is not None:
                    phone.link.cut()
        case _:
            pass


def repair(net: ChatNet) -> None:
    """Let nothing go wrong any more."""
    for phone in net.phones:
        phone.fates.disarm()
        phone.wire_fates.disarm()
        phone.land()
        if not phone.runtime.is_alive:
            phone.restart()


@pytest.mark.parametrize("is_stepwise", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_goes_wrong_what_was_taken_arrives_once_in_one_order(
    seed: int, is_stepwise: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="whisperkit")
    random, net = Random(seed), ChatNet(seed=seed, is_stepwise=is_stepwise)
    phones = [net.phone(name) for name in ("alice", "bob", "carol")]
    group = phones[0].group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))
    taken: dict[str, tuple[SimPhone, MessageId]] = {}

    for n in range(20):
        writer = random.choice(phones)
        if not writer.runtime.is_alive:
            writer.fates.disarm()
            writer.restart()
            net.wait(0.5)
        writer.runtime.spawn(partial(write, writer, group, f"plaintext {n}", taken), name="person")
        net.wait(0.5)
        harm(net, random.choice(phones), random)
        net.wait(random.random())
    repair(net)
    net.wait(30.0)

    def is_quiet() -> bool:
        shown = [phone.texts(group) for phone in phones]
        return shown[0] == shown[1] == shown[2] and "?" not in shown[0]

    net.until(is_quiet, within_s=600.0)
    net.wait(120.0)  # for ticks, and for what should not come
    assert is_quiet()
    shown = phones[0].texts(group)
    statuses = {text: phone.status(group, message_id) for text, (phone, message_id) in taken.items()}
    net.close()

    assert "plaintext" not in caplog.text
    assert b"plaintext" not in net.server.everything()
    assert len(set(shown)) == len(shown)
    assert set(taken) <= set(shown)
    assert {text for text, status in statuses.items() if status < MessageStatus.DELIVERED} == set()
