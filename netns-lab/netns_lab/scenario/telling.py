"""Shows a run step by step: what was done, the evidence, how long it took, and what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from netns_lab.errors import LabError


class Unmet(Exception):  # noqa: N818 - it is what an expectation is, not what a program does wrong
    """Something that should hold does not; the text says what and what was seen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step by its title. `run` tells evidence and raises `Unmet` or `LabError`."""

    title: str
    run: Callable[[], None]


class Teller:
    """Prints to one console; counts what failed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.passed = 0
        self.failed: list[str] = []

    def phase(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/bold]")

    def progress(self, text: str) -> None:
        self._console.print(f"  [dim]{text}[/dim]", highlight=False)

    def evidence(self, text: str) -> None:
        """One line of evidence, or several."""
        for line in text.splitlines():
            self._console.print(f"        {line}", markup=False, highlight=False)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Evidence in columns."""
        cells = [[str(cell) for cell in row] for row in (header, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.evidence("  ".join(padded).rstrip())

    def run(self, step: Step) -> bool:
        """Carry out one step; whether it held."""
        started = time.monotonic()
        self._console.print(f"  [cyan]..[/cyan]  {step.title}", highlight=False)
        try:
            step.run()
        except (Unmet, LabError) as error:
            self.failed.append(step.title)
            self._console.print("  [bold red]FAIL[/bold red]", end=" ")
            self._console.print(str(error), markup=False, highlight=False)
            return False
        self.passed += 1
        seconds = time.monotonic() - started
        self._console.print(f"  [green]ok[/green]    [dim]{seconds:.1f} s[/dim]", highlight=False)
        return True


def expect(holds: bool, what: str, seen: object = "") -> None:
    """Raise `Unmet` unless it holds."""
    if not holds:
        raise Unmet(f"{what}; seen: {seen}" if seen != "" else what)
