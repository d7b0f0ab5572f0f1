import random

import pytest

from whisperkit.errors import MalformedFrameError, OutOfTurnError, OversizedFrameError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.sync import codec, frames
from whisperkit.sync.connection import (
    TRANSITIONS,
    ClientConnection,
    ConnectionState,
    ServerConnection,
    challenge_message,
    register_message,
)
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import FRAMES, Direction
from whisperkit.testing.samples import sample_frame

ALICE = DeviceId.named("alice", 1)
CURSOR = Cursor(1, InboxSeq(0), bytes(8))
CHALLENGE = frames.Challenge(1, bytes(32))
HELLO = frames.Hello(1, ALICE, 7, None, bytes(64))
REGISTER = frames.Register(ALICE, bytes(33), 5, "Alice", bytes(64))
WELCOME = frames.Welcome(frames.Answer.DELTA, CURSOR, CURSOR)
BYE = frames.Bye(frames.ByeCode.NORMAL, 1)
SAMPLES = {spec.name: sample_frame(random.Random(1), spec) for spec in FRAMES}
READ = frames.Read(ConversationId("chat"), ConversationSeq(1))


def connected(*, speaks_json: bool = False) -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(speaks_json=speaks_json), ServerConnection()
    for message in server.encode([CHALLENGE]):
        client.receive(message)
    for message in client.encode([HELLO]):
        server.receive(message)
    return client, server


@pytest.mark.parametrize("speaks_json", [False, True])
def test_two_ends_walk_the_same_states(speaks_json: bool) -> None:
    client, server = connected(speaks_json=speaks_json)

    (welcome,) = server.encode([WELCOME, frames.Head(CURSOR, {})])
    (beat,) = client.encode([frames.Beat()])

    assert client.state is server.state is ConnectionState.ESTABLISHED
    assert isinstance(welcome, str) is isinstance(beat, str) is server.speaks_json is speaks_json
    assert client.receive(welcome) == [WELCOME, frames.Head(CURSOR, {})]
    assert server.receive(beat) == [frames.Beat()]


def test_the_server_follows_the_form_of_the_peer() -> None:
    client, server = connected()

    server.receive(codec.encode_json([frames.Beat()])[0].encode())

    assert server.speaks_json
    assert not client.speaks_json


def test_a_new_user_registers_before_hello() -> None:
    client, server = ClientConnection(), ServerConnection()
    client.receive(server.encode([CHALLENGE])[0])

    assert server.receive(client.encode([REGISTER])[0]) == [REGISTER]
    registering = server.state
    assert client.receive(server.encode([frames.Registered()])[0]) == [frames.Registered()]
    assert server.receive(client.encode([HELLO])[0]) == [HELLO]
    assert (registering, server.state) == (ConnectionState.REGISTERING, ConnectionState.ESTABLISHED)


def test_a_stored_entry_is_sent_as_it_is() -> None:
    client, server = connected()
    sender = ALICE
    entry = frames.Entry(
        InboxSeq(1),
        bytes(8),
        MessageId(bytes(16)),
        frames.EntryKind.MESSAGE,
        ConversationId("chat"),
        ConversationSeq(1),
        ConversationSeq(0),
        sender,
        0,
        None,
        b"x",
    )

    (message,) = server.encode([codec.encode(entry), BYE])

    assert client.receive(message) == [entry, BYE]
    assert client.state is server.state is ConnectionState.CLOSED


@pytest.mark.parametrize("state", ConnectionState)
@pytest.mark.parametrize("spec", FRAMES, ids=lambda spec: spec.name)
def test_a_frame_without_a_place_is_out_of_turn_and_changes_nothing(
    state: ConnectionState, spec: frames.FrameSpec
) -> None:
    from_client = bool(spec.direction & Direction.TO_SERVER)
    end = ServerConnection() if from_client else ClientConnection()
    end._state = state  # pyright: ignore[reportPrivateUsage]  # every state, also those that take long to reach
    data = codec.encode(SAMPLES[spec.name])

    if (state, spec.type) in TRANSITIONS:
        end.receive(data)
        assert end.state is TRANSITIONS[state, spec.type]
    else:
        with pytest.raises(OutOfTurnError) as caught:
            end.receive(data)
        assert (caught.value.frame, caught.value.state) == (spec.name, state.value)
        assert end.state is state


def test_a_message_with_one_frame_out_of_turn_is_refused_whole() -> None:
    server = ServerConnection()
    server.encode([CHALLENGE])

    with pytest.raises(OutOfTurnError):
        server.receive(codec.encode_many([HELLO, HELLO])[0])

    assert server.state is ConnectionState.AWAITING_HELLO


def test_bad_bytes_change_nothing() -> None:
    client, server = connected()

    with pytest.raises(MalformedFrameError):
        server.receive(b"\xc1")
    with pytest.raises(OversizedFrameError):
        client.receive(bytes(codec.MAX_MESSAGE_BYTES + 1))

    assert server.state is client.state is ConnectionState.ESTABLISHED


def test_nothing_comes_after_the_end() -> None:
    client, server = connected()
    server.close()

    with pytest.raises(OutOfTurnError):
        server.receive(client.encode([frames.Beat()])[0])


def test_an_end_sends_only_what_is_its_to_send() -> None:
    client, server = connected()

    with pytest.raises(UsageError, match="WELCOME cannot be sent"):
        client.encode([WELCOME])
    with pytest.raises(UsageError, match="READ cannot be sent"):
        server.encode([READ])
    with pytest.raises(UsageError, match="HELLO cannot be sent"):
        client.encode([HELLO])


def test_what_a_device_signs_is_bound_to_its_use_and_to_each_part() -> None:
    other = DeviceId.named("alice", 2)
    register = register_message(bytes(32), ALICE, identity_key=bytes(33), registration_id=5, name="Alice")

    messages = {
        challenge_message(bytes(32), ALICE, 7),
        challenge_message(bytes(32), ALICE, 8),
        challenge_message(bytes(31) + b"1", ALICE, 7),
        challenge_message(bytes(32), other, 7),
        register,
        register_message(bytes(31) + b"1", ALICE, identity_key=bytes(33), registration_id=5, name="Alice"),
        register_message(bytes(32), other, identity_key=bytes(33), registration_id=5, name="Alice"),
        register_message(bytes(32), ALICE, identity_key=bytes(32) + b"1", registration_id=5, name="Alice"),
        register_message(bytes(32), ALICE, identity_key=bytes(33), registration_id=6, name="Alice"),
        register_message(bytes(32), ALICE, identity_key=bytes(33), registration_id=5, name="Bob"),
    }

    assert len(messages) == 10
    assert register.startswith(b"whisperkit register 1\x00")
