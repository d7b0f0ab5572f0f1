"""Doors that are away: a database, a directory, a bus that raises an error of its own kind ends no gateway.

A task of the service that ends with an error ends its runtime, and with it all links. So whatever a door raises,
whenever it does, the gateway has to stand, and go on once the door is back.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, TEAM, Lab, Phone, identity_key, read, request, span_of
from whisperkit.ids import DeviceId
from whisperkit.service import ServiceConfig
from whisperkit.sync import frames
from whisperkit.sync.frames import ByeCode, EntryKind, RosterChange

DOORS = ("partitions", "marks", "directory", "jobs", "blobs", "bus")
NEWCOMER = DeviceId.named("newcomer", 1)

# What a device may ask for, each as a function of the phone that says it.
SAYINGS: dict[str, Callable[[Phone], object]] = {
    "send": lambda phone: phone.send(TEAM, b"hello"),
    "change members": lambda phone: phone.send(
        TEAM, kind=EntryKind.ROSTER, change=RosterChange(added=(NEWCOMER.user,))
    ),
    "beat": lambda phone: phone.say(frames.Beat()),
    "ack": lambda phone: phone.ack(),
    "pull": lambda phone: phone.say(frames.Pull(phone.cursor)) if phone.cursor else None,
    "read": lambda phone: phone.say(read(TEAM, 1)),
    "marks": lambda phone: phone.say(frames.Marks((TEAM,))),
    "range": lambda phone: phone.say(span_of(TEAM, 0, 9)),
    "follow": lambda phone: phone.say(frames.Follow((TEAM,))),
    "watch": lambda phone: phone.say(frames.Watch((BOB.user,))),
    "typing": lambda phone: phone.say(frames.Typing(TEAM, phone.device.user)),
    "aside": lambda phone: phone.say(frames.Aside(request(1), {BOB: b"key"})),
    "devices": lambda phone: phone.say(frames.Devices(request(2), (BOB.user,))),
    "take": lambda phone: phone.say(frames.Take(request(3), BOB)),
    "link": lambda phone: phone.say(frames.Link(request(4), 2, identity_key(phone.device), 7)),
    "unlink": lambda phone: phone.say(frames.Unlink(request(5), 1)),
    "hang up": lambda phone: phone.link.detach(),
}
SPEAKERS = {says: DeviceId.named(says, 1) for says in SAYINGS}


@pytest.fixture
def quick(make_lab: MakeLab) -> Lab:
    """A lab in which nothing that is remembered is good for long."""
    lab = make_lab(config=ServiceConfig(device_list_s=0.1, beat_s=1.0, lease_s=3.0, adopt_after_s=3.0, note_s=2.0))
    lab.run(lab.g1.service.register(NEWCOMER, *SPEAKERS.values()))
    lab.group(ALICE, BOB, *SPEAKERS.values())
    lab.settle(45.0)  # the directory is not young any more
    return lab


@pytest.mark.parametrize("door", DOORS)
def test_a_door_that_is_away_ends_no_gateway_whatever_is_asked(quick: Lab, door: str) -> None:
    bob, alice = quick.phone(BOB), quick.phone(ALICE, acks=False)
    speakers = {says: quick.phone(device) for says, device in SPEAKERS.items()}

    quick.away.add(door)
    for says, phone in speakers.items():
        SAYINGS[says](phone)
    quick.phone(NEWCOMER)
    quick.settle(40.0)  # longer than anybody tries again
    quick.away.clear()
    quick.settle(10.0)

    assert {says for says, phone in speakers.items() if phone.bye not in (None, ByeCode.TRY_LATER)} == set()
    assert (alice.bye, bob.bye) == (None, None)
    alice.send(TEAM, b"all is well")
    quick.settle(5.0)
    assert alice.sent
    assert bob.texts(TEAM)[-1:] == [b"all is well"]


@pytest.mark.parametrize("door", DOORS)
def test_a_gateway_with_nothing_to_do_outlives_a_door_that_is_away(quick: Lab, door: str) -> None:
    bob = quick.phone(BOB)
    quick.away.add(door)
    for _ in range(10):
        bob.say(frames.Beat())
        quick.settle(20.0)
    quick.away.clear()
    quick.settle(10.0)

    quick.run(quick.g1.service.send(ALICE, TEAM, b"all is well"))
    quick.settle(5.0)

    assert bob.bye is None
    assert bob.texts(TEAM)[-1:] == [b"all is well"]
