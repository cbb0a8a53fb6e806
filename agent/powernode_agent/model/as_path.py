"""AS path patterns that FRR takes, and reads as the operator does.

FRR hands a pattern to the C library, after every `_` has become "start, end, or anything between two
AS numbers" - inside brackets too, where that is rubbish. Only what cannot be misread is let through:
few characters, none of them special to a shell, a quote or a config line; balanced; nothing that this
library and that one understand differently.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 255

EXPECTED: Final = (
    f"an AS path pattern: 1 to {MAX_LENGTH} characters of 0-9 _ ^ $ . * + ? ( ) | [ ] - and single "
    "spaces, balanced, with digits, spaces and ranges in brackets"
)

_CHARACTERS: Final = re.compile(r"[0-9 _^$.*+?()|\[\]-]+")
_BRACKETS: Final = re.compile(r"\[\^?(?:[0-9]-[0-9]|[0-9 ])+\]")
_TWO_REPEATS: Final = re.compile(r"[*+?]{2}")


def is_as_path_pattern(text: str) -> bool:
    """Whether `text` is a pattern that FRR takes in these very words."""
    if len(text) > MAX_LENGTH or not _CHARACTERS.fullmatch(text):
        return False
    # FRR cuts a line into words and joins them with one space each.
    if text != " ".join(text.split()):
        return False
    # One bracket expression is one character; what is left must have no bracket of its own.
    plain = _BRACKETS.sub("0", text)
    if "[" in plain or "]" in plain or "(?" in plain or _TWO_REPEATS.search(plain):
        return False
    try:
        re.compile(text.replace("_", "(?:^|[,{}() ]|$)"))
    except re.error:
        return False
    return True
