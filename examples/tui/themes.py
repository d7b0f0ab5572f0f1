"""The themes: that of the terminal, which has its colours from there, and three of our own.

The styles of the screen name roles only. A theme gives each role a colour; weight and mark say the same without one.
"""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

__all__ = ["THEMES"]

THEMES: Final = {
    "terminal": Theme(
        name="terminal",
        ansi=True,
        primary="ansi_default",
        secondary="ansi_default",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_default",
        accent="ansi_default",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        variables={
            "read": "ansi_blue",
            "border": "ansi_default",
            "border-blurred": "ansi_default",
            "ansi-background": "ansi_default",
            "ansi-foreground": "ansi_default",
            "block-cursor-text-style": "reverse",
            "block-cursor-foreground": "ansi_default",
            "block-cursor-background": "ansi_default",
            "block-cursor-blurred-text-style": "bold",
            "block-hover-background": "ansi_default",
            "input-cursor-background": "ansi_default",
            "input-cursor-foreground": "ansi_default",
            "input-cursor-text-style": "reverse",
            "input-selection-background": "ansi_bright_blue",
            "input-selection-foreground": "ansi_black",
            "screen-selection-background": "ansi_bright_blue",
            "screen-selection-foreground": "ansi_black",
        },
    ),
    "dark": Theme(
        name="dark",
        primary="#6cb6ff",
        secondary="#9aa7b4",
        warning="#f0c674",
        error="#ff8a80",
        success="#8ddb8c",
        accent="#6cb6ff",
        foreground="#e2e6ea",
        background="#14181c",
        surface="#1a1f24",
        panel="#252c33",
        variables={"read": "#6cb6ff", "border-blurred": "#66727e", "scrollbar-background": "#14181c"},
    ),
    "light": Theme(
        name="light",
        dark=False,
        primary="#0b63c5",
        secondary="#4a5561",
        warning="#7a4d00",
        error="#b3261e",
        success="#1c6b2a",
        accent="#0b63c5",
        foreground="#1b1f23",
        background="#ffffff",
        surface="#f5f7f9",
        panel="#e3e8ed",
        variables={"read": "#0b63c5", "border-blurred": "#7d8793", "scrollbar-background": "#ffffff"},
    ),
    "high-contrast": Theme(
        name="high-contrast",
        primary="#ffffff",
        secondary="#ffffff",
        warning="#ffff00",
        error="#ff9d9d",
        success="#ffffff",
        accent="#ffff00",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        text_alpha=1.0,
        variables={"read": "#8fd0ff", "border": "#ffffff", "border-blurred": "#ffffff"},
    ),
}
