"""Bad input, for every action there is: also those that come after this was written. Each call goes in
as a line of the control socket, where all doors end; each must be refused with the field, and change
nothing, in the database or in what any node is to be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from two_accounts import Json, Side, dump, populate, texts

from netns_lab.platform.control import answer_line
from netns_lab.platform.core import REGISTRY, Platform, open_platform
from netns_lab.platform.registry import Effect

EXAMPLES: Json = {
    "selector": {"kind": "all"},
    "statements": [{"seq": 10, "match": {}, "action": "permit"}],
    "as_number": 65000,
    "external_address": "203.0.113.1",
    "public_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "attributes": {
        "network_id": "net-x",
        "remote_account_id": "acct-x",
        "remote_network_id": "net-y",
        "peer_kind": "sdwan_only",
    },
    "inputs": {"peer_id": "peer-x"},
    "arguments": {},
    "seconds": 3600.0,
}
"""Values that the JSON schema of an argument does not tell."""
BAD: tuple[object, ...] = ({"no": ["such"]}, [{"no": "such"}], 7.5, True, "seven", None)
JUST_WRONG = ("", "nothing-1", "' OR 1=1 --", "x" * 100_000, "\x00", "\ud800", "../../etc")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Refused calls change nothing, so that one world is enough for all of them."""
    yield from _two_accounts(tmp_path_factory)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """As `world`, where nobody has tried anything: tried ids are in the audit log of who tried."""
    yield from _two_accounts(tmp_path_factory)


def _two_accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    platform = open_platform(Path(tmp_path_factory.mktemp("platform")), lambda: 1000.0, 3600.0)
    platform.serves_users_at = "https://192.0.2.1/bootstrap"
    platform.call("lab_create_account", {"name": "other"})
    yield (
        populate(platform, platform.account("default"), 1),
        populate(platform, platform.account("other"), 2),
    )
    platform.close()


def schema_of(name: str) -> dict[str, Json]:
    """The properties of an action's arguments."""
    return cast(dict[str, Json], REGISTRY[name].arguments.model_json_schema().get("properties", {}))


def required(name: str) -> list[str]:
    return list(REGISTRY[name].arguments.model_json_schema().get("required", []))


def kind_of(argument: str, side: Side) -> str:
    """Under which name of `side.ids` an id for this argument is; empty: it takes none."""
    for suffix in ("_ids", "_id"):
        if argument.endswith(suffix):
            stem = argument.removesuffix(suffix)
            known = [each for each in side.ids if stem.endswith(each.removesuffix("_id"))]
            return max(known, key=len, default="network_id")
    return "network_id" if argument == "id" else ""


def value_of(argument: str, schema: Json, side: Side) -> object:
    """Something that the schema takes."""
    if argument in EXAMPLES:
        return EXAMPLES[argument]
    if kind := kind_of(argument, side):
        return [side.ids[kind]] if argument.endswith("_ids") else side.ids[kind]
    if choice := cast(list[object], schema.get("enum", [])):
        return choice[0]
    plain: Json = {
        "string": "x", "integer": schema.get("minimum", 1), "number": 1.0, "boolean": False,
        "array": [], "object": {},
    }  # fmt: skip
    return plain.get(str(schema.get("type", "object")), {})


def good(name: str, side: Side) -> Json:
    """All required arguments of an action, of the right form."""
    schema = schema_of(name)
    return {each: value_of(each, schema[each], side) for each in required(name)}


def types_of(schema: Json) -> set[str]:
    """JSON types that a property takes."""
    found = {
        kind
        for each in [schema, *cast(list[Json], schema.get("anyOf", []))]
        for kind in ([each["type"]] if "type" in each else ["object"] if "$ref" in each else [])
        if isinstance(kind, str)
    }
    return found | ({"integer"} if "number" in found else set())


def type_of(value: object) -> str:
    names: dict[type, str] = {dict: "object", list: "array", float: "number", bool: "boolean"}
    return names.get(type(value), "string" if isinstance(value, str) else "null")


def refusal(side: Side, name: str, arguments: Mapping[str, object]) -> str:
    """The field of a refusal; the call has changed nothing."""
    line = json.dumps({"action": name, "arguments": arguments, "account": side.account}).encode()
    before = dump(side.platform)
    answer = answer_line(side.platform, line)
    assert dump(side.platform) == before, f"{name} changed something"
    assert "error" in answer, f"{name} was not refused: {answer}"
    error = cast(Mapping[str, str], answer["error"])
    assert error["field"]
    assert error["rule"]
    assert error["message"].startswith(f"{name}: {error['field']}: ")
    return error["field"]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_missing_argument_is_named(world: tuple[Side, Side], name: str) -> None:
    arguments = good(name, world[0])
    for each in arguments:
        left = {key: value for key, value in arguments.items() if key != each}
        assert refusal(world[0], name, left) == each


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_extra_argument_is_named(world: tuple[Side, Side], name: str) -> None:
    arguments = good(name, world[0])
    assert refusal(world[0], name, {**arguments, "no_such_argument": 1}) == "no_such_argument"
    assert refusal(world[0], name, {**arguments, "confirmation": "x"}) == "confirmation"


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_argument_of_a_wrong_type_is_named(world: tuple[Side, Side], name: str) -> None:
    arguments = good(name, world[0])
    for argument, schema in schema_of(name).items():
        taken = types_of(schema)
        for value in BAD:
            if type_of(value) in taken:
                continue
            field = refusal(world[0], name, {**arguments, argument: value})
            assert field.partition(".")[0] == argument, (argument, value)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_id_of_another_account_is_refused(world: tuple[Side, Side], name: str) -> None:
    mine, theirs = world
    arguments = good(name, mine)
    for argument in schema_of(name):
        kind = kind_of(argument, mine)
        if not kind:
            continue
        foreign = [theirs.ids[kind]] if argument.endswith("_ids") else theirs.ids[kind]
        field = refusal(mine, name, {**arguments, argument: foreign})
        if argument in arguments:
            assert field.partition(".")[0] == argument
        # From the other account as well, which has everything else right.
        refusal(theirs, name, {**good(name, theirs), argument: _of(mine, kind, argument)})


def _of(side: Side, kind: str, argument: str) -> object:
    return [side.ids[kind]] if argument.endswith("_ids") else side.ids[kind]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_unknown_id_is_refused(world: tuple[Side, Side], name: str) -> None:
    arguments = good(name, world[0])
    for argument in arguments:
        if not kind_of(argument, world[0]):
            continue
        for wrong in JUST_WRONG:
            value = [wrong] if argument.endswith("_ids") else wrong
            field = refusal(world[0], name, {**arguments, argument: value})
            assert field.partition(".")[0] == argument, wrong


@pytest.mark.parametrize(
    "name", sorted(name for name in REGISTRY if REGISTRY[name].effect is Effect.READ)
)
def test_nobody_sees_what_another_account_has(quiet: tuple[Side, Side], name: str) -> None:
    for mine, theirs in (quiet, quiet[::-1]):
        arguments = good(name, mine)
        if name == "system_sdwan_describe_call":
            continue  # it says no more than the catalogue does
        answer = mine.platform.call(name, arguments, mine.caller)
        foreign = set(theirs.ids.values())
        assert not [text for text in texts(answer) if any(each in text for each in foreign)]


def test_there_is_something_to_see(quiet: tuple[Side, Side]) -> None:
    """Or the test above would hold for an empty platform."""
    mine = quiet[0]
    for name, key in (
        ("system_sdwan_list_networks", "network_id"),
        ("system_sdwan_list_events", "network_id"),
        ("system_sdwan_list_audit_log", "virtual_ip_id"),
        ("system_sdwan_list_approvals", "virtual_ip_id"),
        ("lab_events", "peer_id"),
    ):
        assert mine.ids[key] in set(texts(mine.call(name))), name


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_no_text_and_no_number_is_a_defect(world: tuple[Side, Side], name: str) -> None:
    """Whatever is in an argument of the right type: an answer or a refusal, and nothing else."""
    arguments = good(name, world[0])
    for argument, schema in schema_of(name).items():
        taken = types_of(schema)
        values: list[object] = [*JUST_WRONG] if "string" in taken else []
        values += [10**30, -(10**30), 0, -1] if "integer" in taken else []
        values += [float("nan"), float("inf"), -1e300] if "number" in taken else []
        for value in values:
            line = json.dumps(
                {
                    "action": name,
                    "arguments": {**arguments, argument: value},
                    "account": world[1].account,
                }
            )
            answer = answer_line(world[1].platform, line.encode())
            assert ("error" in answer) is not ("result" in answer)
            json.dumps(answer, allow_nan=False).encode()


def test_an_account_that_is_not_there_is_named(world: tuple[Side, Side]) -> None:
    line = json.dumps({"action": "lab_ping", "account": "nobody"}).encode()
    error = cast(Json, answer_line(world[0].platform, line)["error"])
    assert error["field"] == "account"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"", "request"),
        (b"[]", "request"),
        (b"{}", "action"),
        (b'{"action": 7}', "action"),
        (b'{"action": "no_such_action"}', "action"),
        (b'{"action": "lab_ping", "arguments": []}', "arguments"),
        (b'{"action": "lab_ping", "door": 7}', "door"),
        (b"\xff\xfe", "request"),
        (b'{"action": "\\ud800"}', "action"),
        (b'{"action": "lab_ping", "account": "\\ud800"}', "account"),
        (b'{"action": "lab_ping", "arguments": {"\\ud800": 1}}', "arguments"),
    ],
)
def test_a_line_that_is_no_request_is_answered(
    world: tuple[Side, Side], line: bytes, field: str
) -> None:
    error = cast(Json, answer_line(world[0].platform, line)["error"])
    assert error["field"] == field


def test_the_log_tells_who_tried_what_and_no_secret(world: tuple[Side, Side]) -> None:
    platform: Platform = world[0].platform
    secret = "cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ="
    line = json.dumps(
        {
            "action": "system_sdwan_create_network",
            "arguments": {"name": secret, "private_key": "hush", "x": {"token": "hush"}},
            "door": "call",
            "actor": "alice",
        }
    )
    answer_line(platform, line.encode(), "uid 7")
    log = cast(list[Json], platform.call("system_sdwan_list_audit_log", {"limit": 1})["audit_log"])
    assert (log[0]["door"], log[0]["actor"], log[0]["outcome"]) == (
        "call",
        "alice (uid 7)",
        "refused",
    )
    assert secret not in json.dumps(log)
    assert "hush" not in json.dumps(log)
