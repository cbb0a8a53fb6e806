"""The actions by name. An action is a checked arguments model and a function; that is all it is.

Unknown arguments are refused: a misspelt option that is silently ignored is an outage later. Every
refusal carries the field and the rule, and the caller rolls the transaction back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from netns_lab.platform.argument_errors import explain
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError


class Arguments(BaseModel):
    """Base of all arguments: nothing unknown, nothing coerced ("1" is not a number), never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `arguments` gives the JSON schema to those who list actions."""

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Context, Mapping[str, object]], Answer]


Registry = Mapping[str, Action]


def action(name: str, arguments: type[A], function: Callable[[Context, A], Answer]) -> Action:
    """An action out of its function, whose docstring opens with the description."""

    def run(context: Context, raw: Mapping[str, object]) -> Answer:
        return function(context, _parse(arguments, raw))

    description = (function.__doc__ or "").strip().partition("\n")[0]
    return Action(name, description, arguments, run)


def make_registry(actions: Iterable[Action]) -> Registry:
    """All actions by name; a name given twice is a defect."""
    registry: dict[str, Action] = {}
    for each in actions:
        if each.name in registry:
            raise ValueError(f"action {each.name} is registered twice")
        registry[each.name] = each
    return registry


def call(
    registry: Registry, context: Context, name: str, arguments: Mapping[str, object]
) -> Answer:
    """Runs an action in the context's transaction. Raises `ActionError`; commits nothing."""
    # The runbook writes them as methods of the platform, and autonomy actions as system.sdwan_...
    found = registry.get(name.removeprefix("platform.").replace("system.", "system_", 1))
    if found is None:
        raise ActionError("action", f"must be one of {', '.join(sorted(registry))}")
    return found.run(context, arguments)


def _parse(arguments: type[A], raw: Mapping[str, object]) -> A:
    try:
        return arguments.model_validate(dict(raw))
    except ValidationError as error:
        raise explain(error, raw, _names(arguments)) from None


def _names(arguments: type[Arguments]) -> str:
    return ", ".join(arguments.model_fields) or "none"
