"""What the server runs: Django for requests, Channels for WebSockets, and the service around both."""

from __future__ import annotations

import os
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_channels.settings")
site = get_asgi_application()  # before what imports models

from examples.django_channels.chat import ChatConsumer, lifespan  # noqa: E402

consumer: Any = ChatConsumer.as_asgi()  # Any: Django's types of a path know views only, and routes of views
routes: list[Any] = [path("ws", consumer)]
application = ProtocolTypeRouter(
    {
        "http": site,
        # A cookie says who it is, and browsers send it along for any page: only our own may connect.
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),
        "lifespan": lifespan,
    }
)
