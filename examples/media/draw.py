"""Draw the photo and the video that the demo sends: a runway at dusk, and an aeroplane that leaves it.

Run by hand, and only to make them anew; needs Pillow, and ffmpeg on the path:

    python examples/media/draw.py

writes ``runway.jpg`` and ``takeoff.mp4`` beside itself. Both are drawn by this file alone, from fixed
seeds, and so are as free to use as the rest of the repository.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent
PHOTO_SIZE = (1280, 853)
VIDEO_SIZE = (480, 270)
FRAMES_PER_S = 24
VIDEO_S = 6


def mix(low: tuple[int, int, int], high: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """Blend two colours; a share of 0 is all `low`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def sky_and_ground(size: tuple[int, int]) -> Image.Image:
    """An evening sky over a dark field, with hills between them."""
    width, height = size
    horizon = round(height * 0.62)
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for y in range(horizon):
        share = y / horizon
        low, high = ((24, 34, 82), (203, 104, 110)) if share < 0.6 else ((203, 104, 110), (255, 190, 110))
        draw.line([(0, y), (width, y)], fill=mix(low, high, share / 0.6 if share < 0.6 else (share - 0.6) / 0.4))
    sun = round(height * 0.07)
    centre = (round(width * 0.72), horizon - sun // 2)
    draw.ellipse([centre[0] - sun, centre[1] - sun, centre[0] + sun, centre[1] + sun], fill=(255, 226, 160))
    for y in range(horizon, height):
        draw.line([(0, y), (width, y)], fill=mix((38, 44, 48), (16, 18, 22), (y - horizon) / (height - horizon)))
    hills = random.Random(7)
    ridge = [(x, horizon - hills.randint(2, height // 22)) for x in range(0, width + 1, max(width // 24, 1))]
    draw.polygon([(0, horizon + 2), *ridge, (width, horizon - 8), (width, horizon + 2)], fill=(46, 40, 62))
    return image


def runway(image: Image.Image) -> None:
    """A runway that narrows towards the horizon, its centre line and its lamps."""
    width, height = image.size
    draw = ImageDraw.Draw(image)
    horizon = round(height * 0.62)
    vanishing = (round(width * 0.44), horizon)
    half = width * 0.3
    draw.polygon(
        [
            (vanishing[0] - half, height),
            (vanishing[0] - 3, horizon),
            (vanishing[0] + 3, horizon),
            (vanishing[0] + half, height),
        ],
        fill=(52, 54, 60),
    )
    for step in range(1, 16):
        near = (step / 15) ** 2.2
        y = horizon + (height - horizon) * near
        if step % 2:
            draw.line(
                [(vanishing[0], y), (vanishing[0], y + (height - horizon) * 0.09 * near)],
                fill=(225, 222, 210),
                width=max(round(width * 0.008 * near), 1),
            )
        radius = max(width * 0.0045 * near, 0.8)
        for side in (-1, 1):
            x = vanishing[0] + side * (3 + half * near)
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(255, 214, 120))


def aeroplane(image: Image.Image, *, x: float, y: float, length: float) -> None:
    """An aeroplane seen from the side, its nose up and to the right."""
    draw = ImageDraw.Draw(image)

    def at(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        # Turned by about eleven degrees: it climbs.
        return [(x + length * (px * 0.98 + py * 0.19), y + length * (py * 0.98 - px * 0.19)) for px, py in points]

    body = (236, 238, 244)
    draw.polygon(at([(-0.5, -0.03), (0.36, -0.05), (0.5, 0.01), (0.38, 0.05), (-0.34, 0.05)]), fill=body)
    draw.polygon(at([(-0.5, -0.03), (-0.53, -0.2), (-0.43, -0.2), (-0.33, -0.04)]), fill=(11, 99, 197))
    draw.polygon(at([(0.08, 0.02), (-0.2, 0.2), (-0.1, 0.2), (0.24, 0.03)]), fill=(178, 184, 196))
    draw.polygon(at([(-0.4, 0.0), (-0.54, 0.06), (-0.48, 0.06), (-0.3, 0.02)]), fill=(178, 184, 196))
    for window in range(9):
        left = -0.26 + window * 0.07
        draw.polygon(
            at([(left, -0.025), (left + 0.03, -0.026), (left + 0.03, -0.002), (left, -0.001)]), fill=(40, 52, 84)
        )


def photo() -> Image.Image:
    """The runway with an aeroplane above it, and the grain of a small camera."""
    image = sky_and_ground(PHOTO_SIZE)
    runway(image)
    aeroplane(image, x=PHOTO_SIZE[0] * 0.36, y=PHOTO_SIZE[1] * 0.3, length=PHOTO_SIZE[0] * 0.3)
    grain = Image.frombytes("L", PHOTO_SIZE, random.Random(11).randbytes(PHOTO_SIZE[0] * PHOTO_SIZE[1]))
    grain = grain.filter(ImageFilter.GaussianBlur(1.2)).convert("RGB")
    return Image.blend(image, grain, 0.06)


def frames() -> bytes:
    """All frames of the take-off, as raw RGB."""
    background = sky_and_ground(VIDEO_SIZE)
    runway(background)
    width, height = VIDEO_SIZE
    raw = bytearray()
    for number in range(FRAMES_PER_S * VIDEO_S):
        share = number / (FRAMES_PER_S * VIDEO_S - 1)
        frame = background.copy()
        aeroplane(
            frame,
            x=width * (-0.1 + 1.25 * share),
            y=height * (0.86 - 0.95 * max(share - 0.25, 0) ** 1.4),
            length=width * (0.34 - 0.16 * share),
        )
        raw += frame.tobytes()
    return bytes(raw)


def main() -> None:
    """Write both files."""
    photo().save(HERE / "runway.jpg", quality=82, optimize=True, progressive=True)
    encode = ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    encode += ["-video_size", f"{VIDEO_SIZE[0]}x{VIDEO_SIZE[1]}", "-framerate", str(FRAMES_PER_S), "-i", "-"]
    encode += ["-c:v", "libx264", "-preset", "veryslow", "-crf", "26", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    encode += ["-fflags", "+bitexact", "-map_metadata", "-1", str(HERE / "takeoff.mp4")]
    subprocess.run(encode, input=frames(), check=True)


if __name__ == "__main__":
    main()
