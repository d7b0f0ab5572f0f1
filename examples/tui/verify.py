"""The dialog with safety numbers: digits, a code to be scanned, comparing, and noting that they were compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import ClassVar, Final, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Input, Static

from examples.tui.dialog import Dialog, line
from whisperkit.ids import DeviceId
from whisperkit.ratchet import SafetyNumber

__all__ = ["Compared", "Shown", "Verify"]

GROUP: Final = 5
IN_A_LINE: Final = 4
# The code has 41 columns and 21 lines; the digits need 26 columns beside it, and 4 lines above it with what is said.
BESIDE_FROM: Final = 76
BELOW_FROM: Final = 32


class Shown(NamedTuple):
    """A safety number in the dialog.

    Attributes:
        name: With whom.
        number: It; `None` if the other side's key is not here yet.
        is_verified: Whether somebody compared it.
        code: The lines of a code to be scanned; none if there is no room for one.
    """

    name: str
    number: SafetyNumber | None
    is_verified: bool
    code: Text | None = None

    def is_of(self, devices: Collection[DeviceId]) -> bool:
        """Whether it is the number of one of these devices."""
        return self.number is not None and self.number.device in devices


class Compared(NamedTuple):
    """What came of comparing digits.

    Attributes:
        said: That in words.
        verified: The devices whose numbers are known to be right by now.
    """

    said: str
    verified: frozenset[DeviceId]


class Verify(Dialog[None]):
    """Safety numbers.

    Args:
        shown: Them.
        compare: Compares what was pasted, and says how that went.
        mark: Notes that a number was compared; false if that could not be noted.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "compare", show=False),
        Binding("v", "mark", "verified", show=False),
        Binding("n,right", "step(1)", "next", show=False),
        Binding("left", "step(-1)", "previous", show=False),
    ]

    def __init__(
        self,
        shown: Sequence[Shown],
        compare: Callable[[str], Awaitable[Compared]],
        mark: Callable[[SafetyNumber], Awaitable[bool]],
        *,
        verified: str,
    ) -> None:
        more = "n next · " if len(shown) > 1 else ""
        super().__init__("Safety number", f"c compare digits · v they are the same · {more}Esc back")
        self._shown = list(shown)
        self._place = 0
        self._compare = compare
        self._mark = mark
        self._verified = verified

    def inside(self) -> Iterable[Widget]:
        """The number, and a line to paste another one in."""
        pasted = Input(placeholder="the 60 digits of the other side", id="pasted")
        pasted.display = False
        words = Vertical(
            line("", "loud", "whose"), line("", "line", "digits"), pasted, line("", "loud", "said"), id="words"
        )
        return [Container(words, line("", "line", "code"), id="number")]

    def on_mount(self) -> None:
        """Show the first."""
        self._show()

    def on_resize(self, event: Resize) -> None:
        """Put the code beside the digits where it does not fit below: it can be scanned only as a whole."""
        self.set_class(event.size.width >= BESIDE_FROM and event.size.height < BELOW_FROM, "-beside")

    def _show(self) -> None:
        one = self._shown[self._place]
        mark = f"  {self._verified} verified" if one.is_verified else "  not compared yet"
        of = f"  ({self._place + 1} of {len(self._shown)})" if len(self._shown) > 1 else ""
        self.query_one("#whose", Static).update(Content(f"with {one.name}{mark if one.number else ''}{of}"))
        self.query_one("#digits", Static).update(Content("\n".join(_lines(one.number))))
        code = self.query_one("#code", Static)
        code.display = one.code is not None
        if one.code is not None:
            code.update(one.code)

    def action_step(self, step: int) -> None:
        """Show another one."""
        self._place = (self._place + step) % len(self._shown)
        self.query_one("#said", Static).update(Content(""))
        self._show()

    def action_compare(self) -> None:
        """Ask for the digits of the other side."""
        pasted = self.query_one("#pasted", Input)
        pasted.display = True
        pasted.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Compare."""
        compared = await self._compare(event.value)
        event.input.value = ""
        event.input.display = False
        self.query_one("#box").focus()
        self.query_one("#said", Static).update(Content(compared.said))
        # The digits need not be those of the number that is shown.
        self._shown = [one._replace(is_verified=one.is_of(compared.verified)) for one in self._shown]
        self._show()

    async def action_mark(self) -> None:
        """Note that the number was compared."""
        number = self._shown[self._place].number
        if number is not None and await self._mark(number):
            self._shown[self._place] = self._shown[self._place]._replace(is_verified=True)
        self._show()


def _lines(number: SafetyNumber | None) -> list[str]:
    if number is None:
        return ["Their key is not here yet: write a message first."]
    groups = [number.digits[at : at + GROUP] for at in range(0, len(number.digits), GROUP)]
    return ["  ".join(groups[at : at + IN_A_LINE]) for at in range(0, len(groups), IN_A_LINE)]
