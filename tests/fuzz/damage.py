"""How inputs are made from samples: bytes damaged, values inside exchanged for others, or nothing but noise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final, TypeGuard

import msgpack

from whisperkit.testing.samples import mutated

# What sits at the bounds of what readers expect: of numbers, of lengths, of types.
_STRANGE: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        127,
        128,
        255,
        256,
        2**31,
        2**32 - 1,
        2**53,
        2**63 - 1,
        2**64 - 1,
        0.5,
        float("inf"),
    ),
    *(b"", b"\x00", bytes(16), bytes(32), bytes(33), "", "x", "\x00", "é" * 64, "alice.1", "[", [], {}, [[]], {"a": 1}),
)


def damage(sample: bytes, rng: random.Random) -> bytes:
    """Make an input: one in eight is noise or begins well and is noise, most are a sample with something wrong."""
    match rng.randrange(16):
        case 0:
            return rng.randbytes(rng.randrange(64))
        case 1:
            return sample[: rng.randrange(4)] + rng.randbytes(rng.randrange(64))
        case 2:
            return sample
        case 3 | 4 | 5 | 6 | 7 | 8:
            return _with_strange_value(sample, rng) or mutated(sample, rng)
        case _:
            return mutated(sample, rng)


def _with_strange_value(sample: bytes, rng: random.Random) -> bytes | None:
    """The sample with values exchanged, if it is msgpack or JSON of more than one value."""
    for read, write in _FORMS:
        try:
            tree = read(sample)
        except ValueError:
            continue
        if not isinstance(tree, list | dict):
            return None
        for _ in range(rng.randint(1, 3)):
            tree = _exchanged(tree, rng)
        try:
            return write(tree)
        except (ValueError, TypeError, OverflowError):  # no form has a place for every value
            return None
    return None


def _exchanged(tree: Any, rng: random.Random) -> Any:
    """The tree with one node replaced, doubled or dropped."""
    if _is_list(tree) and tree and rng.random() < 0.9:
        at = rng.randrange(len(tree))
        match rng.randrange(10):
            case 0:
                return tree[:at] + tree[at + 1 :]
            case 1:
                return tree[:at] + [tree[at]] * rng.randint(2, 3) + tree[at + 1 :]
            case _:
                return [*tree[:at], _exchanged(tree[at], rng), *tree[at + 1 :]]
    if _is_dict(tree) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        return {**tree, key: _exchanged(tree[key], rng)}
    if isinstance(tree, int) and rng.random() < 0.3:
        return tree + rng.choice((-1, 1))
    return rng.choice(_STRANGE)


def _is_list(tree: Any) -> TypeGuard[list[Any]]:
    return isinstance(tree, list)


def _is_dict(tree: Any) -> TypeGuard[dict[Any, Any]]:
    return isinstance(tree, dict)


def _write_json(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode(errors="surrogateescape")


_FORMS: Final[tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...]] = (
    (json.loads, _write_json),
    (msgpack.unpackb, msgpack.packb),
)
