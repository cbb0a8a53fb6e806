"""Typed reading of one TOML table, in which every key that was not asked for is a mistake.

The calls that read a table are what defines its keys, so that the list of known keys, which unknown
ones are compared with, cannot fall behind the code. Imports nothing of ours but `errors`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from powernode_agent.errors import AgentError


class ConfigError(AgentError):
    """The configuration breaks a rule; says file, key, value and expectation."""


class Table:
    """One table of the file; every reader raises `ConfigError` for a value of another shape."""

    def __init__(self, file: str, name: str, values: Mapping[str, object]) -> None:
        self._file = file
        self._name = name
        self._values = values
        self._known: list[str] = []

    @classmethod
    def root(cls, file: str, values: Mapping[str, object]) -> Table:
        """The whole document, whose keys are the sections."""
        return cls(file, "", values)

    def section(self, name: str) -> Table:
        """The section `name`; a missing one is empty."""
        value = self._take(name, {})
        if not isinstance(value, dict):
            raise self.error(name, value, f"a section [{name}]")
        return Table(self._file, name, value)

    def text(self, key: str, default: str, *, empty: bool = True) -> str:
        """A string without control characters; `empty` tells whether "" is allowed."""
        value = self._take(key, default)
        if not isinstance(value, str) or (value and not value.isprintable()):
            raise self.error(key, value, "text")
        if not value and not empty:
            raise self.error(key, value, "text that is not empty")
        return value

    def choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        """One of `allowed`."""
        value = self._take(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self.error(key, value, "one of " + ", ".join(allowed))
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, value, "true or false")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        value = self._take(key, default)
        # True is an int in Python, and nan passes no comparison: both fall out here.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, value, f"a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise self.error(key, value, f"{low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, value, f"a whole number from {low} to {high}")
        return value

    def path(self, key: str, default: Path) -> Path:
        """An absolute path: a daemon's working directory is nobody's business."""
        path = Path(self.text(key, str(default), empty=False))
        if not path.is_absolute():
            raise self.error(key, str(path), "an absolute path")
        return path

    def optional_path(self, key: str) -> Path | None:
        """An absolute path, or None for ""."""
        text = self.text(key, "")
        if not text:
            return None
        if not Path(text).is_absolute():
            raise self.error(key, text, 'an absolute path, or ""')
        return Path(text)

    def refuse_unknown(self) -> None:
        """Raises `ConfigError` for the first key that no reader has asked for."""
        for key, value in self._values.items():
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.5)
            suggestion = f"; did you mean {near[0]}?" if near else ""
            raise self.error(
                key, value, f"one of {', '.join(self._known)}{suggestion}", unknown=True
            )

    def error(
        self, key: str, value: object, expected: str, *, unknown: bool = False
    ) -> ConfigError:
        """The error for `key`, to be raised by whoever finds more wrong than a shape."""
        where = f"[{self._name}] {key}" if self._name else key
        return ConfigError(
            "unknown key in the configuration" if unknown else "wrong value in the configuration",
            which=f"{self._file}, {where}",
            value=key if unknown else repr(value)[:200],
            expected=expected,
            action=f"correct {self._file}",
        )

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._values.get(key, default)
