"""Tools out of the catalogue of actions: names, schemas and hints, as MCP spells them. Pure.

The names are the runbook's; those of the lab's own actions are left out unless they are asked for,
because nobody who runs a network has use for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import mcp_types as types

from netns_lab.errors import LabError

CONFIRMATION: Final = "confirmation"
"""The argument that carries a confirmation; MCP's alone, no action has it."""
REQUEST_CONFIRMATION: Final = "request_confirmation"
LAB: Final = "lab_"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CONFIRMATION_SCHEMA: Final = {
    "type": "string",
    "description": "What request_confirmation, or the call before this one, gave for this very call.",
}


@dataclass(frozen=True, slots=True)
class Described:
    """An action as the catalogue describes it."""

    name: str
    description: str
    effect: str
    idempotent: bool
    arguments: Mapping[str, object]

    @property
    def destructive(self) -> bool:
        """Whether its worst call is."""
        return self.effect == "destructive"


def read_catalogue(answer: Mapping[str, object], *, with_lab: bool) -> dict[str, Described]:
    """The actions that become tools, by name. Raises `LabError`: it is no catalogue."""
    listed = answer.get("actions")
    found: dict[str, Described] = {}
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {
                "name": str(name),
                "description": str(description),
                "effect": str(effect),
                "idempotent": bool(idempotent),
                "arguments": dict(arguments),
            } if _NAME.fullmatch(name):
                if with_lab or not name.startswith(LAB):
                    found[name] = Described(name, description, effect, idempotent, arguments)
            case _:
                raise LabError(
                    "the catalogue has an action that cannot be a tool", value=str(each)[:200]
                )
    if not found:
        raise LabError("the catalogue of actions is empty", expected="system_sdwan_list_actions")
    return found


def tools_of(catalogue: Iterable[Described]) -> list[types.Tool]:
    """All tools: the actions, and `request_confirmation`."""
    return [*map(_tool, catalogue), _request_confirmation()]


def _tool(each: Described) -> types.Tool:
    schema = dict(each.arguments)
    description = each.description
    if each.destructive:
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        schema["properties"] = {**known, CONFIRMATION: _CONFIRMATION_SCHEMA}
        description += " Destructive: a person confirms each call before it is made."
    return types.Tool(
        name=each.name,
        description=description,
        input_schema=schema,
        annotations=types.ToolAnnotations(
            read_only_hint=each.effect == "read",
            destructive_hint=each.destructive,
            idempotent_hint=each.idempotent,
            open_world_hint=False,
        ),
    )


def _request_confirmation() -> types.Tool:
    return types.Tool(
        name=REQUEST_CONFIRMATION,
        description=(
            "Asks a person whether a destructive call may be made, and gives the confirmation to make"
            " it with. It makes no call itself."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "tool": {"type": "string", "description": "The tool that is to be called."},
                "arguments": {"type": "object", "description": "Its arguments, all of them."},
            },
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        },
        annotations=types.ToolAnnotations(
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=False,
        ),
    )
