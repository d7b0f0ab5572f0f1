"""Groups with members of both libraries, who come and go while messages are lost, late and repeated."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import NamedTuple

import pytest

from tests.interop.conftest import MakeOurs, MakeTheirs, Sides, begin, tell
from tests.interop.sides import DUPLICATE, REFUSED, Side
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import MAX_FORWARD_JUMP, MAX_SKIPPED_KEYS

pytestmark = pytest.mark.interop

GROUP = ConversationId("climbing")
TEXT = b"again"


class Post(NamedTuple):
    """A group message, and who was a member when it was written."""

    sender: Side
    plaintext: bytes
    body: bytes
    readers: frozenset[DeviceId]


class Group:
    """A group whose sender keys travel in sessions between its members, as they do between phones."""

    def __init__(self, everybody: list[Side], *, rng: Random) -> None:
        self._rng = rng
        self.members: list[Side] = []
        for one, other in permutations(everybody, 2):
            begin(one, other, one_time=rng.random() < 0.5)
            tell(one, other, b"hello")
            tell(other, one, b"hi")

    def join(self, member: Side) -> None:
        """Let somebody in: they get everybody's key as it is now."""
        for other in self.members:
            self._hand(other, member, other.distribution(GROUP))
            self._hand(member, other, member.distribution(GROUP))
        self.members.append(member)

    def leave(self, member: Side) -> None:
        """Let somebody go: everybody who stays makes a new key."""
        self.members.remove(member)
        for one in self.members:
            rotated = one.rotate(GROUP)
            for other in self.members:
                if other is not one:
                    self._hand(one, other, rotated)

    def post(self) -> Post:
        """Let a member write."""
        sender = self._rng.choice(self.members)
        plaintext = self._rng.randbytes(self._rng.randint(0, 200))
        body = sender.group_encrypt(plaintext, group=GROUP)
        return Post(sender, plaintext, body, frozenset(each.id for each in self.members if each is not sender))

    def _hand(self, sender: Side, receiver: Side, distribution: bytes) -> None:
        message = sender.encrypt(distribution, remote=receiver.id)
        receiver.take_distribution(receiver.decrypt(message, sender=sender.id), sender=sender.id)


@pytest.fixture
def everybody(make_ours: MakeOurs, make_theirs: MakeTheirs) -> list[Side]:
    return [
        make_ours(DeviceId.named("ours", 1)),
        make_theirs(DeviceId.named("theirs", 2)),
        make_ours(DeviceId.named("also ours", 3)),
        make_theirs(DeviceId.named("also theirs", 4)),
    ]


def test_members_read_what_is_written_while_they_are_members_once_and_nothing_else(
    everybody: list[Side], rng: Random
) -> None:
    group = Group(everybody, rng=rng)
    for member in everybody[:3]:
        group.join(member)
    changes = (group.join, group.leave, group.join, group.leave, group.join)
    who = (everybody[3], everybody[0], everybody[0], everybody[1], everybody[1])
    last_words: list[Post] = []

    for change, member in zip(changes, who, strict=True):
        posts = [*last_words, *(group.post() for _ in range(60))]
        last_words = [group.post() for _ in range(5)]
        for reader in everybody:
            for post in rng.sample(posts, len(posts) - 8):
                read(reader, post)
            for post in rng.sample(posts, 5):
                if reader.id in post.readers:
                    read_again(reader, post)
        rng.choice(everybody).restart()
        change(member)
    for reader in everybody:
        for post in last_words:
            read(reader, post)


def read(reader: Side, post: Post) -> None:
    """Let somebody try to read a message for the first time."""
    if reader.id in post.readers:
        assert reader.group_decrypt(post.body, sender=post.sender.id) == post.plaintext
    elif reader is not post.sender:
        with pytest.raises(REFUSED):
            reader.group_decrypt(post.body, sender=post.sender.id)


def read_again(reader: Side, post: Post) -> None:
    """What was read is a duplicate; what was skipped opens now, and is one after that."""
    try:
        assert reader.group_decrypt(post.body, sender=post.sender.id) == post.plaintext
    except DUPLICATE:
        return
    with pytest.raises(DUPLICATE):
        reader.group_decrypt(post.body, sender=post.sender.id)


def test_the_same_distribution_twice_does_not_rewind(sides: Sides) -> None:
    alice, bob = sides
    distribution = alice.distribution(GROUP)
    bob.take_distribution(distribution, sender=alice.id)
    body = alice.group_encrypt(TEXT, group=GROUP)
    assert bob.group_decrypt(body, sender=alice.id) == TEXT

    bob.take_distribution(distribution, sender=alice.id)

    with pytest.raises(DUPLICATE):
        bob.group_decrypt(body, sender=alice.id)


def test_five_keys_of_a_sender_are_kept(sides: Sides) -> None:
    alice, bob = sides
    bodies: list[bytes] = []
    for _ in range(6):
        bob.take_distribution(alice.rotate(GROUP), sender=alice.id)
        bodies.append(alice.group_encrypt(TEXT, group=GROUP))

    with pytest.raises(REFUSED):
        bob.group_decrypt(bodies[0], sender=alice.id)
    for body in bodies[1:]:
        assert bob.group_decrypt(body, sender=alice.id) == TEXT


def test_a_group_message_may_be_as_far_ahead(sides: Sides) -> None:
    alice, bob = sides
    bob.take_distribution(alice.distribution(GROUP), sender=alice.id)
    burst = alice.group_encrypt_many(TEXT, MAX_FORWARD_JUMP + 2, group=GROUP)
    too_far, farthest = burst[MAX_FORWARD_JUMP + 1], burst[MAX_FORWARD_JUMP]

    with pytest.raises(REFUSED):
        bob.group_decrypt(too_far, sender=alice.id)
    assert bob.group_decrypt(farthest, sender=alice.id) == TEXT

    for iteration in (MAX_FORWARD_JUMP - 1, MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS):
        assert bob.group_decrypt(burst[iteration], sender=alice.id) == TEXT
    with pytest.raises(DUPLICATE):
        bob.group_decrypt(burst[MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS - 1], sender=alice.id)
    assert bob.group_decrypt(too_far, sender=alice.id) == TEXT
