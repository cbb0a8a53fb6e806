"""The desired state as an operator writes it: YAML or JSON of the contract's own messages.

Fields have the names of the proto files (JSON's lowerCamelCase is taken too), enums their full name or
the short one in any case (`PEER_ROLE_HUB`, `hub`). A field that is not known is refused with the names
that are: a typo in a file must never mean a default. What the values mean is `decode`'s business.

Violations are collected. Values of fields that hold keys are never shown, and neither is the value of
an unknown field, which may be a key under a misspelt name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.violation import HIDDEN, ModelError, Violation, violation
from powernode_agent.wire.file_text import Tree, read_tree

_SECRET_FIELDS: Final = frozenset({"private_key", "preshared_key", "public_key", "next_public_key"})

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")

_RANGES: Final = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}


def parse_state(text: str | bytes) -> pb.DesiredState:
    """The message that `text` describes; raises `ModelError` with every violation found."""
    tree = read_tree(text)
    message = pb.DesiredState()
    found: list[Violation] = []
    if isinstance(tree, dict):
        _fill(message, tree, _Place("desired state"), found)
    else:
        found.append(
            violation("desired-state file", "content", _kind(tree), "the fields of a DesiredState")
        )
    if found:
        raise ModelError(found)
    return message


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the state a value stands: the resource, and the way from there."""

    resource: str
    path: str = ""

    def inside(self, name: str) -> _Place:
        return _Place(self.resource, f"{self.path}.{name}" if self.path else name)

    def item(self, name: str, position: int, value: Tree) -> _Place:
        """An item of a list: a resource of its own in the lists of the state itself."""
        if self.resource == "desired state":
            return _Place(f"{name}[{position}]{_id_of(value)}")
        return self.inside(f"{name}[{position}]")

    def part(self, name: str, value: Tree) -> _Place:
        """A message that stands alone: `node`, `interface`."""
        if self.resource == "desired state":
            return _Place(f"{name}{_id_of(value)}")
        return self.inside(name)


def _fill(
    message: Message, tree: Mapping[str, Tree], place: _Place, found: list[Violation]
) -> None:
    names = _fields(message.DESCRIPTOR)
    seen: set[str] = set()
    for key, value in tree.items():
        field = names.get(key)
        if field is None:
            known = ", ".join(each.name for each in message.DESCRIPTOR.fields)
            found.append(
                violation(place.resource, place.inside(key).path, "(unknown)", f"one of: {known}")
            )
            continue
        where = place.inside(field.name)
        oneof = field.containing_oneof
        slot = field.name if oneof is None else f"oneof {oneof.name}"
        if slot in seen:
            found.append(violation(where.resource, where.path, "(again)", "given once"))
            continue
        if value is None:
            continue
        seen.add(slot)
        if field.is_repeated:
            _fill_list(message, field, value, place, found)
        elif field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            _fill_part(part, value, place.part(field.name, value), found)
        else:
            scalar = _scalar(field, value, where, found)
            if scalar is not None:
                setattr(message, field.name, scalar)


def _fill_list(
    message: Message,
    field: FieldDescriptor,
    value: Tree,
    place: _Place,
    found: list[Violation],
) -> None:
    if not isinstance(value, list):
        where = place.inside(field.name)
        found.append(violation(where.resource, where.path, _kind(value), "a list"))
        return
    items = getattr(message, field.name)
    for position, item in enumerate(value):
        where = place.item(field.name, position, item)
        if field.message_type is not None:
            _fill_part(items.add(), item, where, found)
        else:
            scalar = _scalar(field, item, where, found)
            if scalar is not None:
                items.append(scalar)


def _fill_part(message: Message, value: Tree, place: _Place, found: list[Violation]) -> None:
    if isinstance(value, dict):
        _fill(message, value, place, found)
    else:
        expected = f"the fields of a {message.DESCRIPTOR.name}"
        found.append(violation(place.resource, place.path or "content", _kind(value), expected))


def _scalar(
    field: FieldDescriptor, value: Tree, place: _Place, found: list[Violation]
) -> str | int | bool | None:
    """The value as its field takes it, or None with a violation added to `found`."""
    scalar: str | int | bool | None
    if field.enum_type is not None:
        scalar = _enum_number(field.enum_type, value)
        expected = " or ".join(_short_names(field.enum_type))
    elif field.type == FieldDescriptor.TYPE_BOOL:
        scalar = value if isinstance(value, bool) else None
        expected = "true or false"
    elif field.type == FieldDescriptor.TYPE_STRING:
        scalar = value if isinstance(value, str) and _encodable(value) else None
        expected = "text (put it in quotes)"
    else:
        low, high = _RANGES[field.type]
        number = _integer(value)
        scalar = number if number is not None and low <= number <= high else None
        expected = f"a whole number from {low} to {high}"
    if scalar is None:
        shown = value if isinstance(value, str | int | float) else _kind(value)
        if field.name in _SECRET_FIELDS:
            shown = HIDDEN
        found.append(violation(place.resource, place.path, shown, expected))
    return scalar


def _integer(value: Tree) -> int | None:
    """A whole number; in quotes too, as JSON has to write those above 2**53."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _enum_number(enum: EnumDescriptor, value: Tree) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value in enum.values_by_number else None
    if not isinstance(value, str):
        return None
    name = value.upper().replace("-", "_")
    for candidate in (name, _enum_prefix(enum) + name):
        if candidate in enum.values_by_name:
            return enum.values_by_name[candidate].number
    return None


def _short_names(enum: EnumDescriptor) -> list[str]:
    prefix = _enum_prefix(enum)
    return [each.name.removeprefix(prefix).lower() for each in enum.values if each.number != 0]


def _enum_prefix(enum: EnumDescriptor) -> str:
    """What all values' names begin with (buf's ENUM_VALUE_PREFIX rule)."""
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


@cache
def _fields(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields} | {
        field.name: field for field in descriptor.fields
    }


def _encodable(text: str) -> bool:
    """Whether protobuf can carry it: JSON can write half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id_of(value: Tree) -> str:
    id_ = value.get("id") if isinstance(value, dict) else None
    return f" ({id_})" if isinstance(id_, str) else ""


def _kind(value: Tree) -> str:
    match value:
        case None:
            return "(nothing)"
        case dict():
            return "(fields)"
        case list():
            return "(a list)"
        case bool():
            return "true" if value else "false"
        case str():
            return "(text)"
        case _:
            return "(a number)"
