"""Columns of text, with colour by ANSI sequences: two tables do not earn the 80 ms of rich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_COLORS: Final = {"red": "31", "green": "32", "yellow": "33"}
_STATE_COLORS: Final = {
    "ok": "green", "connected": "green", "Established": "green", "holding": "green",
    "absent": "red", "Idle": "red", "Connect": "yellow", "Active": "red",
    "degraded": "red", "error": "red", "silent": "red",
    "handshaking": "yellow", "handshake_pending": "yellow", "not measured": "yellow",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """`optional` columns go, the last first, when the table is wider than the screen."""

    title: str
    optional: bool = False
    colored: bool = False


def render_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None, color: bool
) -> list[str]:
    """Title line and one line a row, cells separated by two spaces."""
    shown = list(range(len(columns)))
    sizes = [
        max([len(column.title), *(len(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]
    for index in reversed(range(len(columns))):
        total = sum(sizes[i] for i in shown) + 2 * (len(shown) - 1)
        if width is None or total <= width:
            break
        if columns[index].optional:
            shown.remove(index)
    lines = ["  ".join(columns[i].title.ljust(sizes[i]) for i in shown).rstrip()]
    for row in rows:
        cells = []
        for i in shown:
            cell = row[i].ljust(sizes[i])
            if columns[i].colored:
                cell = paint(cell, _STATE_COLORS.get(row[i], ""), color)
            cells.append(cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def paint(text: str, name: str, color: bool) -> str:
    """`text` in the colour `name`, if colour is wanted and known."""
    return f"\x1b[{_COLORS[name]}m{text}\x1b[0m" if color and name in _COLORS else text


def clean(text: str) -> str:
    """Without anything that could move a cursor: what comes from outside stays one line of text."""
    return "".join(char if char.isprintable() else " " for char in text)
