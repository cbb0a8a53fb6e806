"""Holds an answer against what the runbook says it looks like. Pure.

Every key that the runbook names has to be there, and every word that is a state ("active", "proposed")
has to be the very word. Addresses and the like are examples there: of those only the kind is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from netns_lab.runbook.reader import Each, Exactly, Keys, Shape, Some, Words

_STATE: Final = re.compile(r"[a-z_]+")


def differences(shape: Shape, answer: object, at: str = "answer") -> Iterator[str]:
    """What is wrong with an answer, one sentence for each place; nothing: it is as described."""
    match shape:
        case Some():
            return
        case Exactly(value):
            if answer is not value and answer != value:
                yield f"{at} is {answer!r}, the runbook says {value!r}"
        case Words(words, is_open):
            if not isinstance(answer, str) or not answer:
                yield f"{at} is {answer!r}, the runbook has a text there, such as {words[0]!r}"
            elif not is_open and all(map(_STATE.fullmatch, words)) and answer not in words:
                yield f"{at} is {answer!r}, the runbook says {' or '.join(map(repr, words))}"
        case Each(inner):
            if not isinstance(answer, list):
                yield f"{at} is no list"
                return
            for number, each in enumerate(answer):
                yield from differences(inner, each, f"{at}[{number}]")
        case Keys(keys):
            if not isinstance(answer, Mapping):
                yield f"{at} is no object"
                return
            for key, inner in keys.items():
                if key not in answer:
                    yield f"{at} has no {key}; it has {', '.join(answer)}"
                else:
                    yield from differences(inner, answer[key], f"{at}.{key}")
