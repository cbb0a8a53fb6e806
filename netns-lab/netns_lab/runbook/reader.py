"""Takes the calls out of the runbook's text, in its order. Pure.

The runbook writes its examples as calls of a small JavaScript: `platform.NAME({ key: value, ... })`,
with `//` comments, some of which say what is optional and, after an arrow, what the answer looks like.
Nothing is skipped: text that begins like a call and cannot be read is an error with its line, so that a
changed guide cannot quietly lose a step.

What only the reader of the guide can know stands in it as a placeholder: "<network-id>", a bare name
(`net`), or a text with dots in it ("AbCd...="). All three become `Placeholder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, TypeAlias, TypeVar

from netns_lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Something that the reader fills in, by the words the runbook has for it."""

    words: str


Value: TypeAlias = str | int | bool | Placeholder | Sequence["Value"] | Mapping[str, "Value"] | None


@dataclass(frozen=True, slots=True)
class Some:
    """In a shape: something, whatever it is."""


@dataclass(frozen=True, slots=True)
class Words:
    """In a shape: one of these texts; more are possible when `open`."""

    words: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Exactly:
    """In a shape: this truth value or number."""

    value: bool | int


@dataclass(frozen=True, slots=True)
class Each:
    """In a shape: a list of such things."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Keys:
    """In a shape: an object with at least these keys."""

    keys: Mapping[str, Shape]


Shape: TypeAlias = Some | Words | Exactly | Each | Keys


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `line` is where it begins, from 1; `answer` None: the runbook does not say."""

    phase: int
    line: int
    action: str
    arguments: Mapping[str, Value]
    answer: Shape | None

    @property
    def where(self) -> str:
        """For messages: where the runbook has it."""
        return f"runbook, line {self.line}, {self.action}"


T = TypeVar("T")

_PHASE: Final = re.compile(r"Phase (\d+) ")
_CALL: Final = re.compile(r"platform\.(\w+)\(")
_ARROW: Final = re.compile(r"// → (\{.*)")
_TOKEN: Final = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<string>\"[^\"\n]*\")"
    r"|(?P<number>\d+)"
    r"|(?P<dots>\.\.\.)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<mark>[{}\[\](),:|])"
)
_CONSTANTS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}


def text() -> str:
    """The runbook itself."""
    return files("netns_lab.runbook").joinpath("runbook.md").read_text()


def read(text: str) -> tuple[Call, ...]:
    """All calls in order. Raises `LabError` where something begins like a call and is none."""
    calls: list[Call] = []
    phase, offset = 0, 0
    lines = text.splitlines(keepends=True)
    begins: list[int] = []
    for line in lines:
        begins.append(offset)
        offset += len(line)
    for number, line in enumerate(lines):
        if found := _PHASE.match(line):
            phase = int(found[1])
        called = _CALL.match(line)
        if called is None:
            continue
        parser = _Parser(text, begins[number] + called.end(), number + 1)
        arguments = parser.value()
        parser.take(")")
        if not isinstance(arguments, dict):
            raise parser.unexpected("an object of arguments")
        after = text[parser.at :].lstrip("\n").partition("\n")[0]
        arrow = _ARROW.match(after)
        answer = None
        if arrow is not None:
            answer = _Parser(arrow[1], 0, number + 1).shape()
        calls.append(Call(phase, number + 1, called[1], arguments, answer))
    return tuple(calls)


class _Parser:
    """Reads values and shapes from a place in a text."""

    def __init__(self, text: str, at: int, line: int) -> None:
        self._text, self.at, self._line = text, at, line

    def value(self) -> Value:
        """A value of an argument."""
        kind, token = self._next()
        match kind, token:
            case "string", _:
                return _filled_in(token[1:-1])
            case "number", _:
                return int(token)
            case "name", _ if token in _CONSTANTS:
                return _CONSTANTS[token]
            case "name", _:
                return Placeholder(token)
            case "mark", "[":
                return list(self._until("]", self.value))
            case "mark", "{":
                return dict(self._until("}", self._pair))
        raise self.unexpected("a value")

    def shape(self) -> Shape:
        """What an answer looks like."""
        kind, token = self._next()
        match kind, token:
            case "string", _:
                words, is_open = [token[1:-1]], False
                while self._peek() == "|":
                    self.take("|")
                    kind, token = self._next()
                    if kind == "dots":
                        is_open = True
                    else:
                        words.append(token[1:-1])
                return Words(tuple(words), is_open)
            case "number", _:
                return Exactly(int(token))
            case "dots", _:
                return Some()
            case "name", "true" | "false":
                return Exactly(_CONSTANTS[token] is True)
            case "mark", "[":
                shapes = list(self._until("]", self.shape))
                return Each(shapes[0] if shapes else Some())
            case "mark", "{":
                return Keys(dict(self._until("}", self._key)))
        raise self.unexpected("the shape of an answer")

    def take(self, mark: str) -> None:
        """Goes past a mark that has to be here."""
        if self._peek() != mark:
            raise self.unexpected(mark)
        self._next()

    def unexpected(self, expected: str) -> LabError:
        return LabError(
            "a call in the runbook cannot be read",
            which=f"the call at line {self._line}",
            value=self._text[self.at : self.at + 40],
            expected=expected,
        )

    def _pair(self) -> tuple[str, Value]:
        key = self._name()
        self.take(":")
        return key, self.value()

    def _key(self) -> tuple[str, Shape]:
        key = self._name()
        if self._peek() != ":":
            return key, Some()
        self.take(":")
        return key, self.shape()

    def _name(self) -> str:
        kind, token = self._next()
        if kind != "name":
            raise self.unexpected("a key")
        return token

    def _until(self, end: str, item: Callable[[], T]) -> Iterator[T]:
        while self._peek() != end:
            if self._peek() == "...":
                self._next()
            else:
                yield item()
            if self._peek() == ",":
                self.take(",")
            elif self._peek() != end:
                raise self.unexpected(f"a comma or {end}")
        self.take(end)

    def _peek(self) -> str:
        at = self.at
        try:
            return self._next()[1]
        finally:
            self.at = at

    def _next(self) -> tuple[str, str]:
        while found := _TOKEN.match(self._text, self.at):
            self.at = found.end()
            if found.lastgroup is not None and found.lastgroup != "space":
                return found.lastgroup, found[0]
        raise self.unexpected("the rest of the call")


def _filled_in(text: str) -> str | Placeholder:
    if text.startswith("<") and text.endswith(">"):
        return Placeholder(text[1:-1])
    return Placeholder(text) if "..." in text else text
