"""Rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """The first."""

    initial = True
    dependencies: ClassVar[Sequence[tuple[str, str]]] = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations: ClassVar[Sequence[Operation]] = [
        migrations.CreateModel(
            "Room",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.SlugField(max_length=40, unique=True)),
                ("version", models.PositiveBigIntegerField(default=1)),
                ("members", models.ManyToManyField(to=settings.AUTH_USER_MODEL)),
            ],
        )
    ]
