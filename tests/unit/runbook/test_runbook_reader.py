"""The runbook's text as a program: every call is found, and a call that cannot be read is an error."""

from __future__ import annotations

import pytest

from netns_lab.errors import LabError
from netns_lab.runbook.reader import Call, Keys, Placeholder, read, text
from netns_lab.runbook.shape import differences

CALL = """Phase 3 — Something
platform.system_sdwan_do({
  network_id: "<network-id>",   // a comment: with { marks }
  key: "AbCd...=",
  net: net,
  flag: true,
  // Optional:
  nested: { list: [1, 2], none: null }
})
// → { thing: { id, status: "active"|"proposed", more: [{ a, ... }], dry_run: true, ... } }
"""


def only(text: str) -> Call:
    calls = read(text)
    assert len(calls) == 1
    return calls[0]


def problems(answer: object) -> list[str]:
    shape = only(CALL).answer
    assert shape is not None
    return list(differences(shape, answer))


def test_a_call_is_read() -> None:
    call = only(CALL)
    assert (call.phase, call.line, call.action) == (3, 2, "system_sdwan_do")
    assert call.arguments == {
        "network_id": Placeholder("network-id"),
        "key": Placeholder("AbCd...="),
        "net": Placeholder("net"),
        "flag": True,
        "nested": {"list": [1, 2], "none": None},
    }
    assert isinstance(call.answer, Keys)


def test_every_call_of_the_runbook_is_read() -> None:
    # Counted in the text by its own words: what the reader overlooks would be missing here.
    told = sum(line.startswith("platform.") for line in text().splitlines())
    calls = read(text())
    assert len(calls) == told
    assert {call.phase for call in calls} == set(range(1, 10))
    described = text().count("// → {")
    assert sum(call.answer is not None for call in calls) == described


@pytest.mark.parametrize(
    "broken",
    [
        'platform.x({ a: "1" ',
        "platform.x({ a: })",
        "platform.x({ a 1 })",
        "platform.x([1])",
        "platform.x({ a: 1 } })",
        "platform.x({ a: 1 b: 2 })",
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line(broken: str) -> None:
    with pytest.raises(LabError, match="line 2"):
        read("words\n" + broken + "\n")


def test_an_answer_as_described() -> None:
    thing = {"id": "x", "status": "active", "more": [{"a": 1, "b": 2}], "dry_run": True, "z": 0}
    assert problems({"thing": thing, "other": 1}) == []


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"status": "revoked"}, "answer.thing.status"),
        ({"status": ""}, "answer.thing.status"),
        ({"more": [{"b": 1}]}, "answer.thing.more[0]"),
        ({"more": {}}, "answer.thing.more"),
        ({"dry_run": False}, "answer.thing.dry_run"),
    ],
)
def test_an_answer_that_differs(change: dict[str, object], at: str) -> None:
    thing: dict[str, object] = {"id": "x", "status": "active", "more": [], "dry_run": True}
    found = problems({"thing": thing | change})
    assert [each.split(" ")[0] for each in found] == [at]


def test_a_missing_key_is_named() -> None:
    assert problems({"thing": {"status": "active", "more": [], "dry_run": True}}) == [
        "answer.thing has no id; it has status, more, dry_run"
    ]
