"""Typed access to what is in a document, for whoever shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from powernode_agent.cli.table import clean
from powernode_agent.control.protocol import JSON

Object = Mapping[str, JSON]


def text_of(document: Object, key: str) -> str:
    """The string at `key`, cleaned; "" if there is none."""
    value = document.get(key)
    return clean(value) if isinstance(value, str) else ""


def number_of(document: Object, key: str) -> float | None:
    """The number at `key`; None if it is null or missing."""
    value = document.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def items(document: Object, key: str) -> list[Object]:
    """The objects in the list at `key`."""
    value = document.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def part(document: Object, key: str) -> Object:
    """The object at `key`; empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}
