"""How the demo is told: numbered scenes with their time, what was seen, and what was expected of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

_VERDICT_STYLES = {"MATCH": "bold green", "IN_FLIGHT": "bold yellow", "UNVERIFIED": "bold yellow"}


class Story:
    """Prints the demo and remembers whether it held: every :meth:`expect` must have been true."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.broken: list[str] = []
        self._scenes = 0
        self._began = time.monotonic()

    @property
    def holds(self) -> bool:
        """Whether everything came as expected so far."""
        return not self.broken

    @property
    def seconds(self) -> float:
        """How long the story has taken."""
        return time.monotonic() - self._began

    @contextmanager
    def scene(self, title: str) -> Iterator[None]:
        """Tell one scene: its title first, its duration last."""
        self._scenes += 1
        self.console.print(Rule(Text(f"{self._scenes}. {title}", style="bold cyan"), align="left"))
        began = time.monotonic()
        # A line that stays while the work runs, where it can be wiped away again.
        with self.console.status("working …") if self.console.is_terminal else _nothing():
            yield
        self.console.print(Text(f"   {time.monotonic() - began:.1f} s", style="dim"))

    def tell(self, text: str) -> None:
        """Say what happens."""
        self._print(Text(text))

    def expect(self, holds: bool, claim: str) -> None:
        """Print ``claim`` as kept or broken; a broken one breaks the story."""
        mark, style = ("✔", "green") if holds else ("✘", "bold red")
        self._print(Text(f"{mark} {claim}", style=style))
        if not holds:
            self.broken.append(claim)

    def _print(self, text: Text) -> None:
        """Print a line of a scene, folded with its indentation on a terminal and whole in a file."""
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, 3)))
        else:
            self.console.print(Text("   ").append_text(text), soft_wrap=True)

    def verdicts(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Print (table, claim, verdict, detail) with the verdict in its colour."""
        table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
        for name, claim, verdict, detail in rows:
            style = _VERDICT_STYLES.get(verdict, "bold red")
            table.add_row(Text(f"   {name}"), claim, Text(verdict, style=style), Text(detail, style="dim"))
        self.console.print(table)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under their names."""
        table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
        for at, name in enumerate(columns):
            is_number = bool(rows) and not isinstance(rows[0][at], str)
            table.add_column(f"   {name}" if at == 0 else name, justify="right" if is_number else "left")
        for row in rows:
            cells = [f"{value:,}" if isinstance(value, int) else str(value) for value in row]
            table.add_row(f"   {cells[0]}", *cells[1:])
        self.console.print(table)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
