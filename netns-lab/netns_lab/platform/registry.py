"""The actions by name. An action is a checked arguments model and a function; that is all it is.

Unknown arguments are refused: a misspelt option that is silently ignored is an outage later. Every
refusal carries the field and the rule, and the caller rolls the transaction back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from netns_lab.platform.argument_errors import explain, refuse_unwritable
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.effect import Effect as Effect
from netns_lab.platform.errors import ActionError


class Arguments(BaseModel):
    """Base of all arguments: nothing unknown, nothing coerced ("1" is not a number), never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `arguments` gives the JSON schema to those who list actions. `effect` is that of its
    worst call, see `effect_of` for that of one call. `idempotent`: the same call again changes nothing
    more. `inner` names the action that a call runs in its stead, as `execute_skill` does, None: none.
    """

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Context, Mapping[str, object]], Answer]
    effect: Effect = Effect.WRITE
    idempotent: bool = False
    inner: Callable[[Mapping[str, object]], tuple[Action, Mapping[str, object]] | None] | None = (
        None
    )


Registry = Mapping[str, Action]


def action(
    name: str,
    arguments: type[A],
    function: Callable[[Context, A], Answer],
    *,
    effect: Effect = Effect.WRITE,
    idempotent: bool = False,
    inner: Callable[[Mapping[str, object]], tuple[Action, Mapping[str, object]] | None]
    | None = None,
) -> Action:
    """An action out of its function, whose docstring opens with the description."""

    def run(context: Context, raw: Mapping[str, object]) -> Answer:
        return function(context, _parse(arguments, raw))

    description = (function.__doc__ or "").strip().partition("\n")[0]
    return Action(name, description, arguments, run, effect, idempotent, inner)


def make_registry(actions: Iterable[Action]) -> Registry:
    """All actions by name; a name given twice is a defect."""
    registry: dict[str, Action] = {}
    for each in actions:
        if each.name in registry:
            raise ValueError(f"action {each.name} is registered twice")
        registry[each.name] = each
    return registry


def plain_name(name: str) -> str:
    """The name of an action without what the runbook puts before it: it writes actions as methods of
    the platform, and autonomy actions as `system.sdwan_...`."""
    return name.removeprefix("platform.").replace("system.", "system_", 1)


def find(registry: Registry, name: str) -> Action:
    """The action of a name as the runbook writes it. Raises `ActionError`."""
    found = registry.get(plain_name(name))
    if found is None:
        raise ActionError("action", f"must be one of {', '.join(sorted(registry))}")
    return found


def effect_of(called: Action, arguments: Mapping[str, object]) -> Effect:
    """What one call may do: nothing when it is a dry run, else what the action it runs may."""
    if called.inner is not None and (inside := called.inner(arguments)) is not None:
        return effect_of(*inside)
    dry_run = called.arguments.model_fields.get("dry_run")
    if dry_run is not None and arguments.get("dry_run", dry_run.default) is True:
        return Effect.READ
    return called.effect


def check(called: Action, arguments: Mapping[str, object]) -> None:
    """Refuses arguments that the action would refuse by their form."""
    _parse(called.arguments, arguments)


def _parse(arguments: type[A], raw: Mapping[str, object]) -> A:
    refuse_unwritable(raw)
    try:
        return arguments.model_validate(dict(raw))
    except ValidationError as error:
        raise explain(error, raw, _names(arguments)) from None


def _names(arguments: type[Arguments]) -> str:
    return ", ".join(arguments.model_fields) or "none"
