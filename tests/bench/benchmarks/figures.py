"""What a benchmark gives: rows of figures, and how they are judged and printed. Pure.

A row keeps what was measured apart from what was hoped for: a missed target is said, not failed.
A figure that serves as context has no target and is marked as such, so that nobody reads it as a
promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result. `ours` and `reference` in `unit`; None where there is none.

    `limit`: what `ours` must not exceed, or `ratio_limit`: what ours/reference must not; a row with
    neither is context. `note` says what exactly is in the figure.
    """

    name: str
    ours: float
    unit: str
    note: str
    reference: float | None = None
    limit: float | None = None
    ratio_limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or `context` for a figure without a target."""
        if self.limit is None and self.ratio_limit is None:
            return "context"
        if self.limit is not None and self.ours > self.limit:
            return "missed"
        if self.ratio_limit is not None and (self.ratio is None or self.ratio > self.ratio_limit):
            return "missed"
        return "met"

    @property
    def target(self) -> str:
        """The target in words; empty without one."""
        if self.limit is not None:
            return f"<= {_figure(self.limit)} {self.unit}".rstrip()
        return "" if self.ratio_limit is None else f"<= {self.ratio_limit:g}x"


def spread(values: Sequence[float]) -> str:
    """Median, least and most, for a note."""
    return (
        f"median of {len(values)}: {_figure(median(values))},"
        f" {_figure(min(values))} to {_figure(max(values))}"
    )


def table(rows: Sequence[Row]) -> str:
    """All rows in columns, each followed by its note."""
    header = ("BENCHMARK", "OURS", "REFERENCE", "RATIO", "TARGET", "")
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    lines: list[str] = []
    for number, line in enumerate(cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
        if number:
            lines.append(f"    {rows[number - 1].note}")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    return (
        row.name,
        f"{_figure(row.ours)} {row.unit}".rstrip(),
        "" if row.reference is None else f"{_figure(row.reference)} {row.unit}".rstrip(),
        "" if row.ratio is None else f"{_figure(row.ratio)}x",
        row.target,
        row.verdict,
    )


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
