"""The themes: what is to be read can be read, and each colour of a theme is one of its own."""

from __future__ import annotations

import pytest
from textual.color import Color

from examples.tui.themes import THEMES

# Of WCAG 2.2: text, and what a theme for high contrast is held to.
AA, AAA = 4.5, 7.0


def contrast(one: Color, other: Color) -> float:
    """As WCAG 2.2 counts it."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: Color) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize(("name", "least"), [("dark", AA), ("light", AA), ("high-contrast", AAA)])
def test_each_kind_of_text_stands_out_from_the_background(name: str, least: float) -> None:
    theme = THEMES[name]
    kinds = (theme.foreground, theme.warning, theme.error, theme.accent, theme.variables["read"])

    for color in kinds:
        assert color is not None
        assert theme.background is not None
        assert contrast(Color.parse(color), Color.parse(theme.background)) >= least


def test_the_theme_of_the_terminal_has_no_colours_of_its_own() -> None:
    theme = THEMES["terminal"]
    colors = [theme.primary, theme.foreground, theme.background, theme.error, theme.warning, theme.surface]

    assert theme.ansi
    assert all(color is not None and color.startswith("ansi_") for color in colors)
