"""The contract explains itself: everything in proto/ has a comment, and every field says what its
absence means. Read from the descriptors that protoc makes, so that it is what readers see.

The convention for fields, which this file holds to: a comment has one of the words "Required",
"Default", "Unset" or "Empty", with a capital letter. Members of a oneof are excused: their message
says how many of them are set. A field whose name ends in a unit has the unit's word as well.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

PROTO = Path(__file__).parents[2] / "proto"
ABSENCE = re.compile(r"\b(Required|Default|Unset|Empty)\b")
UNITS = {"_ms": "millisecond", "_us": "microsecond", "_seconds": "econds", "_bytes": "ytes"}


@dataclass(frozen=True)
class Documented:
    """One element of the contract. `field` None: it is no field, or a member of a oneof."""

    name: str
    kind: str
    comment: str
    field: FieldDescriptorProto | None = None


def contract(directory: Path, out: Path) -> list[Documented]:
    """Every message, field, oneof, enum, value, service and call below `directory`."""
    files = sorted(str(file.relative_to(directory)) for file in directory.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", "--include_source_info"]
    subprocess.run([*command, f"--descriptor_set_out={out}", *files], check=True, cwd=directory)
    found = FileDescriptorSet.FromString(out.read_bytes())
    return [element for file in found.file for element in _file(file)]


def _file(file: FileDescriptorProto) -> Iterator[Documented]:
    # Paths are field numbers and indexes, as in SourceCodeInfo.Location (descriptor.proto).
    comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}

    def enum(proto: EnumDescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[Documented]:
        yield Documented(scope + proto.name, "enum", comments.get(path, ""))
        for index, value in enumerate(proto.value):
            comment = comments.get((*path, 2, index), "")
            yield Documented(f"{scope}{proto.name}.{value.name}", "enum value", comment)

    def message(proto: DescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[Documented]:
        own = f"{scope}{proto.name}."
        yield Documented(scope + proto.name, "message", comments.get(path, ""))
        for index, field in enumerate(proto.field):
            # An `optional` field is alone in a oneof that nobody wrote.
            member = field.HasField("oneof_index") and not field.proto3_optional
            comment = comments.get((*path, 2, index), "")
            yield Documented(own + field.name, "field", comment, None if member else field)
        for index, nested in enumerate(proto.nested_type):
            yield from message(nested, (*path, 3, index), own)
        for index, nested_enum in enumerate(proto.enum_type):
            yield from enum(nested_enum, (*path, 4, index), own)

    for index, proto in enumerate(file.message_type):
        yield from message(proto, (4, index), "")
    for index, enum_proto in enumerate(file.enum_type):
        yield from enum(enum_proto, (5, index), "")
    for index, service in enumerate(file.service):
        yield Documented(service.name, "service", comments.get((6, index), ""))
        for number, method in enumerate(service.method):
            comment = comments.get((6, index, 2, number), "")
            yield Documented(f"{service.name}.{method.name}", "rpc", comment)


def complaints(elements: list[Documented]) -> list[str]:
    """What breaks the convention, a line each."""
    found = []
    for each in elements:
        where = f"{each.kind} {each.name}"
        if not each.comment.strip():
            found.append(f"{where}: no comment")
        elif each.field is not None:
            if not ABSENCE.search(each.comment):
                found.append(f"{where}: says neither Required, Default, Unset nor Empty")
            for ending, word in UNITS.items():
                if each.field.name.endswith(ending) and word not in each.comment:
                    found.append(f"{where}: does not name its unit ({word})")
    return found


def test_everything_in_the_contract_is_documented(tmp_path: Path) -> None:
    elements = contract(PROTO, tmp_path / "contract.pb")
    kinds = {each.kind for each in elements}
    assert kinds == {"message", "field", "enum", "enum value", "service", "rpc"}
    assert complaints(elements) == []


BARE = """
syntax = "proto3";
// A message.
message Thing {
  // Its length. Required.
  uint32 length = 1;
  %s
  oneof way {
    // One way.
    string one = 3;
  }
}
// An enum.
enum Colour {
  // Unknown.
  COLOUR_UNSPECIFIED = 0;
  %s
  COLOUR_RED = 1;
}
"""


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("// Age. Required.\n uint32 age = 2;", "// Red.", []),
        ("uint32 age = 2;", "// Red.", ["field Thing.age: no comment"]),
        (
            "// Age.\n optional uint32 age = 2;",
            "// Red.",
            ["field Thing.age: says neither Required, Default, Unset nor Empty"],
        ),
        (
            "// Age. Default 0.\n uint32 age_ms = 2;",
            "// Red.",
            ["field Thing.age_ms: does not name its unit (millisecond)"],
        ),
        (
            "// Age. Unset: unknown.\n uint32 age = 2;",
            "",
            ["enum value Colour.COLOUR_RED: no comment"],
        ),
    ],
)
def test_what_is_missing_is_found(
    tmp_path: Path, field: str, value: str, wanted: list[str]
) -> None:
    (tmp_path / "bare.proto").write_text(BARE % (field, value))
    assert complaints(contract(tmp_path, tmp_path / "bare.pb")) == wanted
