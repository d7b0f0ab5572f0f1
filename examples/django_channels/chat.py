"""All of whisperkit in the site: what a socket or a page posts in its rooms comes, in order and once.

The service lives as long as the server, and is in the scope of each connection and each request. No channel layer is
needed. Everybody has one device.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from examples.adapters.sqlite import open_sqlite
from examples.django_channels.models import Room
from whisperkit import ConversationId, DeviceId, MessageId, UserId
from whisperkit.errors import NotMemberError, SendFirstError, StaleOutboxError
from whisperkit.service import AttachedLink, MessageService
from whisperkit.stores import Roster, Stores
from whisperkit.sync.codec import is_json

__all__ = ["ChatConsumer", "device_of", "lifespan", "messages_of", "post"]

UNAUTHORISED: Final = 4003


class Rooms:
    """A `RosterSource`: the site's own rooms, looked at with each message."""

    async def roster(self, conversation: ConversationId) -> Roster | None:
        """Who is in a room now; `None`: it is none of the site's."""
        return await database_sync_to_async(_roster)(conversation)


def _roster(name: str) -> Roster | None:
    room = Room.objects.filter(name=name).first()
    if room is None:
        return None
    # Read after the version: of members who are newer than it, the next version tells again.
    return Roster(room.version, frozenset(user_of(pk) for pk in room.members.values_list("pk", flat=True)))


# Any: what ASGI passes on.
async def lifespan(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Serve from the server's start to its end; where this is not called, as under daphne, nothing is served."""
    await receive()
    async with (
        open_sqlite(settings.FOLDER / "messages.db") as store,
        MessageService(Stores.over(store, marks=store, rosters=Rooms())) as scope["state"]["messages"],
    ):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def messages_of(scope: Mapping[str, object]) -> MessageService:
    """The service."""
    return cast("dict[str, MessageService]", scope["state"])["messages"]


def user_of(key: object) -> UserId:
    """A user by the key of their row, because a name may change."""
    return UserId.named(f"user {key}")


def device_of(user: object) -> DeviceId | None:
    """The device of who is logged in; `None`: nobody is."""
    return DeviceId(user_of(user.pk), 1) if isinstance(user, User) else None


class ChatConsumer(AsyncWebsocketConsumer):
    """Carries the frames of one device; whose it is, the login has said."""

    link: AttachedLink | None = None

    async def connect(self) -> None:
        """Hand the connection over."""
        await self.accept()  # also of who is sent away: a browser shows the code of a close, but of no refusal
        device = device_of(self.scope.get("user"))
        if device is None:
            await self.close(UNAUTHORISED, "log in first")
        else:
            self.link = messages_of(self.scope).attach(device, send=self.pass_on, close=self.close)

    async def pass_on(self, data: bytes) -> None:
        """JSON goes out as text, which a page can read."""
        await (self.send(text_data=data.decode()) if is_json(data) else self.send(bytes_data=data))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Only queues."""
        if self.link is not None:
            self.link.receive(bytes_data or text_data or b"")

    async def disconnect(self, code: int) -> None:
        """The connection is gone."""
        if self.link is not None:
            self.link.detach()


class Message(forms.Form):
    """What a page posts: the number makes it safe to repeat, the epoch is for who has lost count and begins at 1."""

    epoch = forms.IntegerField(min_value=1)
    number = forms.IntegerField(min_value=1)
    text = forms.CharField(max_length=4_000)


@require_POST
def post(request: ASGIRequest, room: str) -> JsonResponse:
    """Post from a page: a plain view, which waits until the message is durable."""
    device, form = device_of(request.user), Message(request.POST)
    if device is None:
        return JsonResponse({"error": "log in first"}, status=401)
    if not form.is_valid():
        return JsonResponse({"error": form.errors}, status=400)
    epoch, number, text = (form.cleaned_data[name] for name in ("epoch", "number", "text"))
    same = MessageId.derive(f"{device} {room} {epoch} {number} {text}".encode())
    try:
        sent = async_to_sync(messages_of(request.scope).send)(
            device,
            ConversationId(room),
            text.encode(),
            outbox_seq=number,
            outbox_epoch=epoch,
            message_id=same,
        )
    except NotMemberError:
        return JsonResponse({"error": "no such room of yours"}, status=404)
    except SendFirstError as error:
        return JsonResponse({"error": str(error), "expected": error.expected}, status=409)
    except StaleOutboxError as error:
        return JsonResponse({"error": str(error), "epoch": error.epoch}, status=409)
    return JsonResponse({"seq": sent.seq})
