"""How the model says no: which resource, which field, which value, what was expected.

Violations are collected, not raised one at a time: an operator who sends a bad revision wants to see
all that is wrong with it, up to a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from powernode_agent.errors import AgentError

MAX_REPORTED: Final = 20
"""Enough to see a pattern; a revision with 5,000 bad peers must not make a 5,000-line report."""

MAX_VALUE_LENGTH: Final = 200

HIDDEN: Final = "(hidden)"
"""What stands for a key, public ones too: people paste private keys into the wrong field."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule. `value` is already safe to show: secrets come as "(hidden)"."""

    resource: str
    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.field} is {self.value}, expected {self.expected}"


def violation(resource: str, field: str, value: object, expected: str) -> Violation:
    """A violation with its parts cut to what a report may carry; text is quoted, unless HIDDEN."""
    if value == HIDDEN:
        return Violation(_cut(resource), _cut(field), HIDDEN, expected)
    # Cut before quoting: ten megabytes in a name must not be copied several times.
    text = repr(value[: MAX_VALUE_LENGTH + 1]) if isinstance(value, str) else str(value)
    return Violation(_cut(resource), _cut(field), _cut(text), expected)


def violation_of_part(part: Violation, whole: str) -> Violation:
    """`part`, which only knew itself, as a violation of the resource it belongs to."""
    return Violation(_cut(f"{part.resource} of {whole}"), part.field, part.value, part.expected)


def _cut(text: str) -> str:
    if len(text) > MAX_VALUE_LENGTH:
        text = text[: MAX_VALUE_LENGTH - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


class ModelError(AgentError):
    """A desired state that breaks rules; holds at least one and at most MAX_REPORTED violations, and
    how many more there were."""

    def __init__(self, violations: list[Violation] | tuple[Violation, ...]) -> None:
        self.violations = tuple(violations[:MAX_REPORTED])
        self.omitted = len(violations) - len(self.violations)
        text = "; ".join(str(v) for v in self.violations)
        if self.omitted:
            text += f"; and {self.omitted} more"
        super().__init__(f"desired state refused: {text}")
