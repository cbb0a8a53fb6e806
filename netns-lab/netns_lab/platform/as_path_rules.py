"""AS path patterns that may be sent to a node. Pure.

A pattern ends up in one line of a routing daemon's configuration, which reads it as a POSIX regular
expression. What is taken here is less than that: a small grammar without a character that could end
the line or open a quote, and without what two libraries read differently. An agent that meets anything
else refuses its whole revision, so nothing of it may get past this.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 255

RULE: Final = (
    f"must be an AS path pattern of 1 to {MAX_LENGTH} characters of 0-9 _ ^ $ . * + ? ( ) | [ ] - and"
    " single spaces inside, balanced, with something between bars, and digits, ranges or spaces in"
    " brackets"
)

_ONE: Final = re.compile(r"[0-9_. -]|\[\^?(?:[0-9](?:-[0-9])?| )+\]")
"""Matches one character of a path, or with `_` a border between two AS numbers."""
_RANGE: Final = re.compile(r"([0-9])-([0-9])")


def is_as_path_pattern(text: str) -> bool:
    """Whether a node takes `text`, and reads it as it was meant."""
    # The daemon cuts its lines into words, and joins them with one space each.
    if not 1 <= len(text) <= MAX_LENGTH or "  " in text or text != text.strip(" "):
        return False
    depth, at, something, repeatable = 0, 0, False, False
    while at < len(text):
        one = _ONE.match(text, at)
        if one is not None:
            if any(last < first for first, last in _RANGE.findall(_inside(one[0]))):
                return False
            at, something, repeatable = one.end(), True, True
            continue
        match text[at]:
            case "^" | "$":
                something, repeatable = True, False
            case "*" | "+" | "?" if repeatable:
                repeatable = False
            case "(":
                depth, something, repeatable = depth + 1, False, False
            case ")" if depth and something:
                depth, something, repeatable = depth - 1, True, True
            case "|" if something:
                something, repeatable = False, False
            case _:
                return False
        at += 1
    return depth == 0 and something


def _inside(atom: str) -> str:
    return atom if atom.startswith("[") else ""
