"""The pages of the site."""

from __future__ import annotations

from django.urls import path

from examples.django_channels.accounts import change_members, log_in, members
from examples.django_channels.chat import post
from examples.django_channels.page import page

urlpatterns = [
    path("", page),
    path("web/<str:name>", page),
    path("login", log_in),
    path("rooms/<slug:room>", members),
    path("rooms/<slug:room>/members/<str:name>", change_members),
    path("rooms/<slug:room>/messages", post),
]
