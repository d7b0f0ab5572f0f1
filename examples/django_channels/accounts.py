"""What the site had before: users with a login, and rooms with members.

New are two lines: who makes an account has a device, and who changes the members of a room says so.
"""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django import forms
from django.contrib.auth import authenticate, login
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods

from examples.django_channels.chat import device_of, messages_of
from examples.django_channels.models import Room
from whisperkit import ConversationId

__all__ = ["change_members", "log_in", "members"]


class Login(forms.Form):
    """A name and a password; the first who says a name has it."""

    name = forms.SlugField(max_length=40)
    password = forms.CharField(max_length=200, validators=[validate_password], strip=False)


@ensure_csrf_cookie
@require_http_methods(["GET", "POST"])
def log_in(request: ASGIRequest) -> JsonResponse:
    """Make an account, or check its password; the answer sets the cookie of a session."""
    if request.method == "GET":
        return JsonResponse({})
    form = Login(request.POST)
    if not form.is_valid():
        return JsonResponse({"error": form.errors}, status=400)
    name, password = form.cleaned_data["name"], form.cleaned_data["password"]
    with transaction.atomic():
        is_taken = User.objects.filter(username=name).exists()
        made = None if is_taken else User.objects.create_user(name, password=password)
    user = made or authenticate(request, username=name, password=password)
    device = device_of(user)
    if user is None or device is None:
        return JsonResponse({"error": "the name is taken, and the password is not its own"}, status=401)
    async_to_sync(messages_of(request.scope).register)(device)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({"device": device})


@require_http_methods(["GET"])
def members(request: ASGIRequest, room: str) -> JsonResponse:
    """Who is in a room: the names of their devices."""
    found = User.objects.filter(room__name=room)
    names = {str(device_of(user)): user.get_username() for user in found}
    if str(device_of(request.user)) not in names:
        return JsonResponse({"error": "no such room of yours"}, status=404)
    return JsonResponse(names)


@require_http_methods(["PUT", "DELETE"])
def change_members(request: ASGIRequest, room: str, name: str) -> JsonResponse:
    """Add somebody to a room that you are in, or make one with yourself in it; or put somebody out."""
    if not isinstance(request.user, User):
        return JsonResponse({"error": "log in first"}, status=401)
    who = User.objects.filter(username=name).first()
    if who is None:
        return JsonResponse({"error": "no such user"}, status=404)
    with transaction.atomic():
        found, _ = Room.objects.get_or_create(name=room)
        is_mine = found.members.filter(pk=request.user.pk).exists()
        if not is_mine and (found.members.exists() or who != request.user):
            return JsonResponse({"error": "you are not in that room"}, status=403)
        if request.method == "PUT":
            found.members.add(who)
        else:
            found.members.remove(who)
    async_to_sync(messages_of(request.scope).sync_members)(ConversationId(room))
    return JsonResponse({})
