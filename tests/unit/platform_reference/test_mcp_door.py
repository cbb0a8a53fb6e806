"""The MCP server as its clients meet it: the official client, standard input and output, a control
socket, and the platform behind it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, cast

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.stdio import StdioServerParameters

from netns_lab.mcp_door.confirmations import LIFETIME_SECONDS, Confirmations
from netns_lab.platform.caller import Caller
from netns_lab.platform.control import serve_control
from netns_lab.platform.core import REGISTRY, Platform, open_platform

Json = dict[str, object]
SERVE = """
import sys
from pathlib import Path
from netns_lab.mcp_door import stdio
from netns_lab.platform_client import PlatformClient
stdio.serve(PlatformClient.of(Path(sys.argv[1])), sys.argv[2], with_lab=False)
"""
DELETE = "system_sdwan_delete_network"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    opened = open_platform(tmp_path, lambda: 1000.0, 3600.0)
    opened.call("lab_create_account", {"name": "other"})
    server = await serve_control(opened, tmp_path / "control.sock")
    yield opened
    server.close()
    opened.close()


class Person:
    """Somebody who is asked, and what was asked."""

    def __init__(self, action: Literal["accept", "decline"], confirm: bool = True) -> None:
        self.answer = types.ElicitResult(
            action=action, content={"confirm": confirm} if action == "accept" else None
        )
        self.asked: list[str] = []

    async def __call__(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        self.asked.append(params.message)
        return self.answer


def client(
    tmp_path: Path, person: Person | None = None, *, mode: str = "auto", account: str = "default"
) -> AbstractAsyncContextManager[Client]:
    command = StdioServerParameters(
        command=sys.executable, args=["-c", SERVE, str(tmp_path), account]
    )
    return Client(
        command,
        elicitation_callback=person,
        mode=mode,
        client_info=types.Implementation(name="desk", version="7"),
    )


def told(result: types.CallToolResult) -> Json:
    return cast(Json, result.structured_content)


def network(platform: Platform, name: str = "core", account: str = "") -> str:
    caller = Caller(platform.account(account)) if account else None
    made = platform.call("system_sdwan_create_network", {"name": name}, caller)["network"]
    return str(cast(Json, made)["id"])


def names(platform: Platform) -> list[object]:
    listed = platform.call("system_sdwan_list_networks", {})["networks"]
    return [each["name"] for each in cast(list[Json], listed)]


async def test_every_action_is_a_tool_under_its_name_with_its_schema(
    platform: Platform, tmp_path: Path
) -> None:
    async with client(tmp_path) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert set(tools) == {
        *(name for name in REGISTRY if not name.startswith("lab_")),
        "request_confirmation",
    }
    for name, tool in tools.items():
        if name == "request_confirmation":
            continue
        own = REGISTRY[name].arguments.model_json_schema()
        confirmed = REGISTRY[name].effect.value == "destructive"
        expected = {*own.get("properties", {}), *(["confirmation"] if confirmed else [])}
        assert set(tool.input_schema.get("properties", {})) == expected
        assert tool.input_schema.get("required", []) == own.get("required", [])
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.destructive_hint is confirmed
        assert tool.annotations.read_only_hint is (REGISTRY[name].effect.value == "read")


async def test_a_call_answers_as_by_any_door_and_is_logged(
    platform: Platform, tmp_path: Path
) -> None:
    async with client(tmp_path) as session:
        made = await session.call_tool("system_sdwan_create_network", {"name": "core"})
        listed = await session.call_tool("system_sdwan_list_networks", {})
        refused = await session.call_tool("system_sdwan_create_network", {"name": "core", "x": 1})
    assert told(listed) == platform.call("system_sdwan_list_networks", {})
    assert not made.is_error
    assert refused.is_error
    assert cast(Json, told(refused)["error"])["field"] == "x"
    lines = cast(
        list[Json], platform.call("system_sdwan_list_audit_log", {"limit": 2})["audit_log"]
    )
    assert [(each["outcome"], each["field"], each["door"]) for each in lines] == [
        ("refused", "x", "mcp"),
        ("ok", None, "mcp"),
    ]
    assert "desk 7 (uid " in str(lines[0]["actor"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_can_ask_asks(platform: Platform, tmp_path: Path, mode: str) -> None:
    doomed = network(platform)
    for person, left in (
        (Person("decline"), ["core"]),
        (Person("accept", confirm=False), ["core"]),
        (Person("accept"), []),
    ):
        async with client(tmp_path, person, mode=mode) as session:
            result = await session.call_tool(DELETE, {"network_id": doomed})
        assert len(person.asked) == 1
        assert DELETE in person.asked[0]
        assert doomed in person.asked[0]
        assert result.is_error is bool(left)
        assert names(platform) == left


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_without_a_person_to_ask_a_confirmation_is_needed_and_works_once(
    platform: Platform, tmp_path: Path, mode: str
) -> None:
    one, two = network(platform, "one"), network(platform, "two")
    async with client(tmp_path, mode=mode) as session:
        first = told(await session.call_tool(DELETE, {"network_id": one}))
        assert first["status"] == "confirmation_required"
        token = first["confirmation"]
        other = await session.call_tool(DELETE, {"network_id": two, "confirmation": token})
        assert other.is_error
        spent = await session.call_tool(DELETE, {"network_id": one, "confirmation": token})
        assert cast(Json, told(spent)["error"])["field"] == "confirmation"
        forged = await session.call_tool(DELETE, {"network_id": one, "confirmation": 7})
        assert forged.is_error
        assert names(platform) == ["one", "two"]
        asked = await session.call_tool(
            "request_confirmation", {"tool": DELETE, "arguments": {"network_id": one}}
        )
        again = {"network_id": one, "confirmation": told(asked)["confirmation"]}
        assert not (await session.call_tool(DELETE, again)).is_error
        assert names(platform) == ["two"]
        assert (await session.call_tool(DELETE, again)).is_error


async def test_what_would_be_refused_anyway_is_asked_of_nobody(
    platform: Platform, tmp_path: Path
) -> None:
    person = Person("accept")
    async with client(tmp_path, person) as session:
        refused = await session.call_tool(DELETE, {"network_id": 7})
    assert refused.is_error
    assert cast(Json, told(refused)["error"])["field"] == "network_id"
    assert person.asked == []


async def test_a_server_acts_for_one_account(platform: Platform, tmp_path: Path) -> None:
    mine, theirs = network(platform, "mine"), network(platform, "theirs", "other")
    person = Person("accept")
    async with client(tmp_path, person, account="other") as session:
        listed = told(await session.call_tool("system_sdwan_list_networks", {}))["networks"]
        refused = await session.call_tool(DELETE, {"network_id": mine})
    assert [each["id"] for each in cast(list[Json], listed)] == [theirs]
    assert cast(Json, told(refused)["error"])["field"] == "network_id"
    assert names(platform) == ["mine"]


async def test_an_account_that_is_not_there_is_named(platform: Platform, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE, str(tmp_path), "nobody"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"nobody" in said


def test_a_confirmation_is_for_one_call_for_a_while() -> None:
    clock = [0.0]
    open_ = Confirmations("default", lambda: clock[0])
    token = open_.issue("t", {"a": 1, "b": [2]})
    assert open_.redeem(token, "t", {"b": [2], "a": 1}) == ""
    assert "used already" in open_.redeem(token, "t", {"a": 1, "b": [2]})
    for tool, arguments in (("u", {"a": 1}), ("t", {"a": True}), ("t", {})):
        assert "another call" in open_.redeem(open_.issue("t", {"a": 1}), tool, arguments)
    question = open_.issue("t", {}, asked=True)
    assert "another call" in open_.redeem(question, "t", {}), "to ask is not to agree"
    late = open_.issue("t", {})
    clock[0] = LIFETIME_SECONDS + 1
    assert "older" in open_.redeem(late, "t", {})
