"""The server's two handlers: list the tools, call one.

How a person is asked depends on the client: by elicitation where it can (in the protocol of 2026-07-28
the call is answered with the question and made again with the answer; before that, the question goes
out while the call waits), and else by answering with a confirmation to call again with, which is for
the client to show and for a person to agree to. In no case is anything done before.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from netns_lab.errors import ActionError, LabError
from netns_lab.mcp_door.confirmations import LIFETIME_SECONDS, Confirmations
from netns_lab.mcp_door.tools import CONFIRMATION, REQUEST_CONFIRMATION, Described, tools_of

Answer = dict[str, object]
Call = Callable[[str, Mapping[str, object], str], Awaitable[Answer]]
"""Makes a call of an action; the last is who makes it. Raises `ActionError` and `LabError`."""
Reply = types.CallToolResult | types.InputRequiredResult
Request = ServerRequestContext[dict[str, object]]

_QUESTION: Final = "confirm"
_FORM: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        _QUESTION: {"type": "boolean", "title": "Carry it out", "default": False},
    },
    "required": [_QUESTION],
}
_SHOWN: Final = 800
INSTRUCTIONS: Final = (
    "Actions of the SD-WAN platform, under the names of its runbook, for one account. Find out which"
    " phase a wish belongs to (network, peers, virtual IPs, port mappings, firewall, route policies,"
    " user devices, BGP, federation) and read before you write: list_* and get_* change nothing."
    " Destructive tools are confirmed by a person; request_confirmation asks beforehand. After a"
    " change watch last_handshake_at in system_sdwan_list_peers and the states in"
    " system_sdwan_get_bgp_sessions."
    " When system_sdwan_list_events shows that a sensor fired, system_sdwan_list_skills says which"
    " skill answers it; skills under require_approval wait in system_sdwan_list_approvals."
)


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """The tools of one account. `call` is the way to the platform."""

    account: str
    catalogue: Mapping[str, Described]
    call: Call
    confirmations: Confirmations

    def server(self, version: str) -> Server[dict[str, object]]:
        """The MCP server, without its transport."""
        return Server(
            "powernode-sdwan",
            version=version,
            title=f"Powernode SD-WAN, account {self.account}",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )

    async def _list_tools(
        self, context: Request, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools_of(self.catalogue.values()))

    async def _call_tool(self, context: Request, params: types.CallToolRequestParams) -> Reply:
        arguments = dict(params.arguments or {})
        try:
            if params.name == REQUEST_CONFIRMATION:
                return await self._request_confirmation(context, params, arguments)
            tool = self.catalogue.get(params.name)
            if tool is None:
                raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name[:64]!r}")
            if tool.destructive:
                given = arguments.pop(CONFIRMATION, None)
                waiting = await self._unconfirmed(context, params, tool, arguments, given)
                if waiting is not None:
                    return waiting
            return _success(await self.call(tool.name, arguments, _client(context)))
        except ActionError as error:
            return _failure(
                str(error),
                {"action": error.refused_action, "field": error.field, "rule": error.rule},
            )
        except LabError as error:
            return _failure(str(error), {"action": params.name, "field": "", "rule": str(error)})

    async def _unconfirmed(
        self,
        context: Request,
        params: types.CallToolRequestParams,
        tool: Described,
        arguments: Mapping[str, object],
        given: object,
    ) -> Reply | None:
        """What to answer instead of making a call; None: it may be made."""
        if not await self._is_destructive(context, tool.name, arguments):
            return None
        if given is not None:
            problem = (
                self.confirmations.redeem(given, tool.name, arguments)
                if isinstance(given, str)
                else "must be a string"
            )
            if problem:
                raise ActionError(
                    tool.name,
                    field=CONFIRMATION,
                    rule=problem,
                    message=f"{tool.name}: {CONFIRMATION}: {problem}",
                )
            return None
        asked = await self._ask(context, params, tool, arguments)
        if isinstance(asked, types.InputRequiredResult):
            return asked
        if asked is None:
            return self._confirmation(tool, arguments, "required")
        return None if asked else _declined(tool.name)

    async def _request_confirmation(
        self,
        context: Request,
        params: types.CallToolRequestParams,
        arguments: Mapping[str, object],
    ) -> Reply:
        name, wanted = arguments.get("tool"), arguments.get("arguments")
        tool = self.catalogue.get(name) if isinstance(name, str) else None
        if tool is None:
            rule = "must be the name of a tool"
            return _failure(f"tool: {rule}", {"field": "tool", "rule": rule})
        if not isinstance(wanted, dict):
            rule = "must be an object"
            return _failure(f"arguments: {rule}", {"field": "arguments", "rule": rule})
        if not tool.destructive or not await self._is_destructive(context, tool.name, wanted):
            return _success({"status": "not_needed", "tool": tool.name})
        asked = await self._ask(context, params, tool, wanted)
        if isinstance(asked, types.InputRequiredResult):
            return asked
        if asked is False:
            return _declined(tool.name)
        return self._confirmation(tool, wanted, "required" if asked is None else "given")

    async def _is_destructive(
        self, context: Request, name: str, arguments: Mapping[str, object]
    ) -> bool:
        """Whether this very call is; a dry run is not. Refuses arguments that the action would."""
        asked = {"action": name, "arguments": dict(arguments)}
        said = await self.call("system_sdwan_describe_call", asked, _client(context))
        return said.get("effect") != "read" and said.get("effect") != "write"

    async def _ask(
        self,
        context: Request,
        params: types.CallToolRequestParams,
        tool: Described,
        arguments: Mapping[str, object],
    ) -> types.InputRequiredResult | bool | None:
        """Whether a person agrees; None: this client cannot ask anybody."""
        can = context.session.client_capabilities
        elicitation = None if can is None else can.elicitation
        # An empty capability means forms: the protocol had nothing else when it was introduced.
        if elicitation is None or (elicitation.form is None and elicitation.url is not None):
            return None
        question = self._question(tool, arguments)
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            answer = await context.session.elicit_form(question, _FORM, context.request_id)
            return _agreed(answer)
        if params.request_state is not None:
            problem = self.confirmations.redeem(
                params.request_state, tool.name, arguments, asked=True
            )
            return not problem and _agreed((params.input_responses or {}).get(_QUESTION))
        form = types.ElicitRequestFormParams(message=question, requested_schema=_FORM)
        return types.InputRequiredResult(
            input_requests={_QUESTION: types.ElicitRequest(params=form)},
            request_state=self.confirmations.issue(tool.name, arguments, asked=True),
        )

    def _question(self, tool: Described, arguments: Mapping[str, object]) -> str:
        shown = json.dumps(arguments)
        if len(shown) > _SHOWN:
            shown = shown[: _SHOWN - 1] + "…"
        return f"Account {self.account}: {tool.name} {shown}\n{tool.description}\nCarry it out?"

    def _confirmation(
        self, tool: Described, arguments: Mapping[str, object], status: str
    ) -> types.CallToolResult:
        token = self.confirmations.issue(tool.name, arguments)
        told: Answer = {
            "status": f"confirmation_{status}",
            "tool": tool.name,
            "arguments": dict(arguments),
            CONFIRMATION: token,
            "expires_in_seconds": LIFETIME_SECONDS,
        }
        text = f"Nothing was done yet. Confirmation {status}: {self._question(tool, arguments)}"
        if status == "required":
            text += " Show this to a person first, and go on only if they agree."
        text += f" Call {tool.name} with the same arguments and {CONFIRMATION}={token!r}."
        return types.CallToolResult(content=[_text(text)], structured_content=told)


def _agreed(answer: object) -> bool:
    return (
        isinstance(answer, types.ElicitResult)
        and answer.action == "accept"
        and (answer.content or {}).get(_QUESTION) is True
    )


def _client(context: Request) -> str:
    params = context.session.client_params
    return "" if params is None else f"{params.client_info.name} {params.client_info.version}"


def _success(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(json.dumps(answer))], structured_content=answer)


def _failure(text: str, error: Mapping[str, object]) -> types.CallToolResult:
    told = {"error": dict(error)}
    return types.CallToolResult(content=[_text(text)], structured_content=told, is_error=True)


def _declined(name: str) -> types.CallToolResult:
    rule = "was not given: nobody agreed to it"
    text = f"{name}: {CONFIRMATION}: {rule}; nothing was done"
    return _failure(text, {"action": name, "field": CONFIRMATION, "rule": rule})


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
