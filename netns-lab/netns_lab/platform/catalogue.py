"""The catalogue of actions: what there is to call, with the JSON schema of its arguments and what it
may do at worst. The MCP server makes its tools of it, so that no door knows an action that another
does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.phase1_networks import NoArguments
from netns_lab.platform.registry import Action, Arguments, Effect, action


def describe(each: Action) -> dict[str, object]:
    """An action as JSON. The schema's own title is its class's, and says nothing to callers."""
    schema = each.arguments.model_json_schema()
    return {
        "name": each.name,
        "description": _text(each),
        "effect": each.effect.value,
        "idempotent": each.idempotent or each.effect is Effect.READ,
        "arguments": {key: value for key, value in schema.items() if key != "title"},
    }


def _text(each: Action) -> str:
    more = " ".join((each.arguments.__doc__ or "").split())
    return f"{each.description} {more}".strip()


def list_actions(context: Context, arguments: NoArguments) -> Answer:
    """Lists every action with its arguments and what it may do."""
    return {"actions": context.services.actions()}


class DescribeCall(Arguments):
    """A call as it would be made."""

    action: str
    arguments: Mapping[str, object]


def describe_call(context: Context, arguments: DescribeCall) -> Answer:
    """Says what a call may do, and refuses arguments that the action would; calls nothing."""
    name, effect = context.services.describe_call(arguments.action, arguments.arguments)
    return {"action": name, "effect": effect.value}


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_list_actions", NoArguments, list_actions, effect=Effect.READ),
    action("system_sdwan_describe_call", DescribeCall, describe_call, effect=Effect.READ),
)
