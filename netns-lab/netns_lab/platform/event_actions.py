"""`system_sdwan_list_events`: what the sensors saw and what became of it."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.registry import Action, Arguments, Effect, action


class ListEvents(Arguments):
    """Events after `since`, in seconds since the epoch, whose name begins with `event` ("sdwan." for
    what sensors say); the last `limit`."""

    since: float = 0.0
    event: str = ""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


def list_events(context: Context, arguments: ListEvents) -> Answer:
    """Lists what happened in the account, oldest first: sensors, approvals, moves, rotations."""
    found = [
        each
        for each in context.services.events(context.account_id)
        if isinstance(at := each["at"], float)
        and at > arguments.since
        and str(each["event"]).startswith(arguments.event)
    ]
    return {"events": found[-arguments.limit :]}


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_list_events", ListEvents, list_events, effect=Effect.READ),
)
