"""YAML or JSON text, as a plain tree.

An operator's file is read with less than YAML can do, because the rest is traps: aliases (a kilobyte
can become a gigabyte), tags that make objects, a second value for the same key that silently wins, `no`
for false and `1:20` for 80. Plain scalars are what JSON knows: null, true, false and whole numbers;
all else is text. No error quotes the file: it holds keys.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from powernode_agent.model.violation import ModelError, violation

if TYPE_CHECKING:
    import yaml

MAX_TEXT_BYTES: Final = 10 * 1024 * 1024
"""5,000 peers take about 3 MB."""
MAX_DEPTH: Final = 32

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")


def read_tree(text: str | bytes) -> Tree:
    """The tree of one YAML or JSON document; raises `ModelError`."""
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        _refuse("size", f"{size} bytes", f"at most {MAX_TEXT_BYTES} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            _refuse("text", f"byte {error.start}", "UTF-8")
    # JSON is taken as JSON: YAML does not know all of its escapes.
    return _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)


def _read_json(text: str) -> Tree:
    try:
        tree: Tree = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        _refuse("syntax", f"line {error.lineno}, column {error.colno}", f"JSON ({error.msg})")
    except (RecursionError, ValueError):
        _refuse("syntax", "too deep, or a number too long", f"at most {MAX_DEPTH} levels")
    return tree


def _unique(pairs: list[tuple[str, Tree]]) -> dict[str, Tree]:
    members: dict[str, Tree] = {}
    for key, value in pairs:
        if key in members:
            _refuse("key", key, "each key once")
        members[key] = value
    return members


def _no_constant(name: str) -> NoReturn:
    _refuse("number", name, "a number that JSON knows")


def _read_yaml(text: str) -> Tree:
    # Imported here: a node with a platform never reads YAML, and it costs a megabyte.
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            match event:
                case yaml.AliasEvent():
                    builder.refuse(event, "an alias (*name)", "the value itself")
                case yaml.ScalarEvent():
                    builder.check_tag(event, event.tag)
                    plain = event.style is None or event.style == ""
                    builder.put(event, _plain(event.value) if plain else event.value)
                case yaml.MappingStartEvent():
                    builder.check_tag(event, event.tag)
                    builder.open(event, {})
                case yaml.SequenceStartEvent():
                    builder.check_tag(event, event.tag)
                    builder.open(event, [])
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    builder.close()
                case yaml.DocumentStartEvent():
                    builder.start_document(event)
    except yaml.MarkedYAMLError as error:
        # Not str(error): it quotes the lines around the mistake, and keys stand in them.
        mark = error.problem_mark
        where = "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        _refuse("syntax", where, f"YAML ({error.problem})")
    except yaml.YAMLError:
        _refuse("syntax", "a character that YAML does not allow", "printable text")
    return builder.tree


def _plain(text: str) -> Tree:
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.fullmatch(text) else text


class _Builder:
    """Puts a tree together from YAML events, without recursion."""

    def __init__(self) -> None:
        self.tree: Tree = None
        self._documents = 0
        self._open: list[dict[str, Tree] | list[Tree]] = []
        self._keys: list[str | None] = []
        """For each open container: the key that waits for its value."""

    def start_document(self, event: yaml.Event) -> None:
        self._documents += 1
        if self._documents > 1:
            self.refuse(event, "a second document", "one document")

    def open(self, event: yaml.Event, container: dict[str, Tree] | list[Tree]) -> None:
        self.put(event, container)
        self._open.append(container)
        self._keys.append(None)
        if len(self._open) > MAX_DEPTH:
            self.refuse(event, "too deep", f"at most {MAX_DEPTH} levels")

    def close(self) -> None:
        self._open.pop()
        self._keys.pop()

    def put(self, event: yaml.Event, value: Tree) -> None:
        if not self._open:
            self.tree = value
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
            return
        key = self._keys[-1]
        if key is None:
            if not isinstance(value, str):
                self.refuse(event, "a key that is not text", "the name of a field")
            if value in container:
                self.refuse(event, value, "each key once")
            self._keys[-1] = value
        else:
            container[key] = value
            self._keys[-1] = None

    def check_tag(self, event: yaml.Event, tag: str | None) -> None:
        if tag is not None:
            self.refuse(event, f"the tag {tag}", "no tags")

    def refuse(self, event: yaml.Event, value: str, expected: str) -> NoReturn:
        mark = event.start_mark
        where = "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        _refuse(where, value, expected)


def _refuse(field: str, value: str, expected: str) -> NoReturn:
    raise ModelError([violation("desired-state file", field, value, expected)])
