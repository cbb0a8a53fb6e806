"""The three doors: what the MCP server, `netns-lab call` and Python do is the same, and is in
the audit log.

On a network of its own, beside the others, on two of their nodes; the last step deletes it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar, cast

import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT
from mcp.client.stdio import StdioServerParameters

from netns_lab.errors import LabError
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect

T = TypeVar("T")
Answer = Mapping[str, object]
ACTOR: Final = types.Implementation(name="concierge", version="1")
HUB, SPOKE = "hub-1", "spoke-open"
FINDING_SECONDS: Final = 60.0


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps; the last one deletes the network."""
    rules: list[str] = []

    def over_mcp() -> None:
        async def run(client: Client) -> None:
            tools = (await client.list_tools()).tools
            teller.evidence(f"{len(tools)} tools, such as {', '.join(t.name for t in tools[:3])}")
            made = await _use(client, "system_sdwan_create_network", name="doors")
            stage.network_id = text(made, "network", "id")
            stage.handle = text(made, "network", "handle")
            for name in (HUB, SPOKE):
                peer = await _use(
                    client,
                    "system_sdwan_attach_peer",
                    network_id=stage.network_id,
                    node_instance_id=stage.instances[name],
                )
                stage.peers[name] = text(peer, "peer", "id")

        _with_client(stage, run)
        stage.lab.wait_until(
            lambda: all(len(stage.wireguard(name)) == 1 for name in (HUB, SPOKE)),
            what="both nodes to have the other as a WireGuard peer (wg show)",
            timeout=60,
        )
        teller.evidence(f"wg show {stage.link} on {HUB} and {SPOKE}: one peer each")

    def same_answers() -> None:
        async def run(client: Client) -> Answer:
            return await _use(client, "system_sdwan_get_network", network_id=stage.network_id)

        by_mcp = _with_client(stage, run)
        by_python = stage.call("system_sdwan_get_network", network_id=stage.network_id)
        command = _command(stage, "call", "system_sdwan_get_network")
        command.insert(-2, json.dumps({"network_id": stage.network_id}))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, "netns-lab call answers", done.stderr)
        by_call = json.loads(done.stdout)
        expect(by_mcp == by_python == by_call, "the same answer by all doors", (by_mcp, by_call))
        teller.evidence("MCP, Python and netns-lab call answer get_network alike, to the byte")

    def plan_and_finding() -> None:
        plan = stage.call("sdwan_failover", network_id=stage.network_id)
        teller.evidence(f"hub-promotion plan: needed {plan['needed']}; {plan['reason']}")
        expect(plan["needed"] is False, "a hub that answers needs no promotion", plan)
        for _ in range(2):
            answer = stage.call(
                "system_sdwan_create_firewall_rule",
                network_id=stage.network_id,
                direction="ingress",
                action="accept",
                selector={"kind": "all"},
                protocol="tcp",
                port_range="5432",
            )
            rules.append(text(answer, "firewall_rule", "id"))

        def found() -> str:
            listed = stage.call("system_sdwan_list_events", event="sdwan.policy_finding")["events"]
            return next(
                (json.dumps(e) for e in cast(list[Answer], listed) if rules[1] in json.dumps(e)), ""
            )

        event = stage.lab.wait_until(
            found, what="the periodic audit to find the shadowed rule", timeout=FINDING_SECONDS
        )
        teller.evidence(event)

    def not_confirmed() -> None:
        async def run(client: Client) -> None:
            told = await _use(client, _DELETE, network_id=stage.network_id, force=True)
            expect(told["status"] == "confirmation_required", "it asks for confirmation", told)
            teller.evidence(f"answer: {told['status']}, for {told['expires_in_seconds']} s")
            other = await client.call_tool(
                _DELETE, {"network_id": stage.network_id, "confirmation": told["confirmation"]}
            )
            expect(other.is_error, "a confirmation is for the very same arguments", other)

        _with_client(stage, run)
        declining = _Person("decline")
        refused = _with_client(stage, lambda client: _delete(client, stage), declining)
        expect(refused.is_error, "what a person declines is not done", refused)
        expect(len(declining.asked) == 1, "a person was asked", declining.asked)
        expect(len(stage.listed_peers()) == 2, "the network and its peers are still there")

    def confirmed() -> None:
        person = _Person("accept")
        done = _with_client(stage, lambda client: _delete(client, stage), person)
        expect(not done.is_error, "what a person agrees to is done", done)
        teller.evidence(f"asked: {person.asked[0].splitlines()[0]}")
        stage.lab.wait_until(
            lambda: not any(stage.wireguard(name) for name in (HUB, SPOKE)),
            what="the network's links to be gone (wg show)",
            timeout=60,
        )

    def logged() -> None:
        answer = stage.call("system_sdwan_list_audit_log", limit=50)
        lines = cast(list[Answer], answer["audit_log"])
        mine = [line for line in lines if stage.network_id in json.dumps(line)]
        rows = [(line["action"], line["door"], line["actor"], line["outcome"]) for line in mine]
        teller.table(("action", "door", "actor", "outcome"), rows)
        seen = {(action, door, outcome) for action, door, _, outcome in rows}
        for wanted in (
            ("system_sdwan_create_network", "mcp", "ok"),
            ("system_sdwan_attach_peer", "mcp", "ok"),
            ("system_sdwan_create_firewall_rule", "python", "ok"),
            (_DELETE, "mcp", "ok"),
        ):
            expect(wanted in seen, f"the audit log has {wanted}", rows)
        deleted = [row for row in rows if row[0] == _DELETE]
        expect(len(deleted) == 1, "only the confirmed call came to the platform", deleted)

    return [
        Step("a network by MCP tools under the runbook's names, on real nodes", over_mcp),
        Step("one implementation: the same answer by MCP, Python and netns-lab call", same_answers),
        Step(
            "sdwan_failover plans, and the audit finds a shadowed rule by itself", plan_and_finding
        ),
        Step("a destructive call that nobody confirms does nothing", not_confirmed),
        Step("confirmed by a person, it is done", confirmed),
        Step("the audit log has every call that changed something, with door and actor", logged),
    ]


_DELETE: Final = "system_sdwan_delete_network"


class _Person:
    """Somebody whom the client asks, and what was asked."""

    def __init__(self, says: str) -> None:
        self._accepts = says == "accept"
        self.asked: list[str] = []

    async def __call__(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        self.asked.append(params.message)
        if self._accepts:
            return types.ElicitResult(action="accept", content={"confirm": True})
        return types.ElicitResult(action="decline")


async def _delete(client: Client, stage: Stage) -> types.CallToolResult:
    return await client.call_tool(_DELETE, {"network_id": stage.network_id, "force": True})


async def _use(client: Client, tool: str, **arguments: object) -> Answer:
    """A tool's answer. Raises `LabError` when it is an error."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or not isinstance(result.structured_content, dict):
        raise LabError(
            "a tool of the MCP server failed", which=tool, value=str(result.content)[:500]
        )
    return result.structured_content


def _with_client(
    stage: Stage, work: Callable[[Client], Awaitable[T]], person: ElicitationFnT | None = None
) -> T:
    """Work with a client of `netns-lab mcp`, started for it."""
    program, *rest = _command(stage, "mcp")
    server = StdioServerParameters(command=program, args=rest)

    async def run() -> T:
        async with Client(server, client_info=ACTOR, elicitation_callback=person) as client:
            return await work(client)

    return asyncio.run(run())


def _command(stage: Stage, *words: str) -> list[str]:
    return [sys.executable, "-m", "netns_lab.cli", *words, "--lab", stage.lab.name]
