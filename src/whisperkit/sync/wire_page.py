"""The page of the docs that describes the wire, rendered from the table of frames."""

from __future__ import annotations

from collections.abc import Iterator

from whisperkit.sync import frames
from whisperkit.sync.codec import MAX_FRAMES, MAX_JSON_CHARS, MAX_MESSAGE_BYTES
from whisperkit.sync.frames import FRAMES, Direction, FrameSpec

__all__ = ["render_page"]

_SENDER = {Direction.TO_SERVER: "The device sends it.", Direction.TO_CLIENT: "The server sends it."}


def render_page() -> str:
    """Render the page as Markdown."""
    return "\n".join((*_head(), *(line for spec in FRAMES for line in _frame(spec)))) + "\n"


def _head() -> Iterator[str]:
    yield "# Frames"
    yield ""
    yield "A frame is the array `[code, field, ...]`, in msgpack or in JSON, where bytes are base64 with padding."
    yield f"A message of the transport holds one frame, or an array of at most {MAX_FRAMES:,} frames."
    yield f"It is at most {MAX_MESSAGE_BYTES:,} bytes of msgpack, or {MAX_JSON_CHARS:,} characters of JSON."
    yield "The server answers in the form of the last message that came."
    yield "Numbers are whole, from 0 to 2**53 - 1 unless the table says otherwise."
    yield f"This is version {frames.PROTOCOL_VERSION} of the protocol."
    yield ""


def _frame(spec: FrameSpec) -> Iterator[str]:
    yield f"### {spec.name}"
    yield ""
    text = (spec.type.__doc__ or "").split("\n\n")[0].partition(": ")[2]
    yield f"Code {spec.code}. {_SENDER.get(spec.direction, 'Both sides send it.')} {text[:1].upper()}{text[1:]}"
    yield ""
    if spec.fields:
        yield "| field | kind |"
        yield "|---|---|"
        yield from (f"| `{field.name}` | {field.kind.describe()} |" for field in spec.fields)
        yield ""
