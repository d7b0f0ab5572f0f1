"""What the site had before: rooms with members.

New is the version, which changes with the members, whoever changes them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.db.models import F
from django.db.models.signals import m2m_changed
from django.dispatch import receiver

__all__ = ["Room"]


class Room(models.Model):
    """A room, and who is in it."""

    name: models.SlugField[str, str] = models.SlugField(max_length=40, unique=True)
    version: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(default=1)
    members: models.ManyToManyField[User, Any] = models.ManyToManyField(User)  # Any: the table between, made by Django

    objects: ClassVar[models.Manager[Room]]

    def __str__(self) -> str:
        return self.name


@receiver(m2m_changed, sender=Room.members.through)
def _members_changed(instance: Room, action: str, **_: object) -> None:
    if action.startswith("post_"):
        Room.objects.filter(pk=instance.pk).update(version=F("version") + 1)
