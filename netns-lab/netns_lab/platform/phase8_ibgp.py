"""Runbook, phase 8: iBGP: the account's AS number, the sessions, and what to do about one that is down.

`system_sdwan_update_account_as_number`, `system_sdwan_get_bgp_sessions`, and the skill
`sdwan_bgp_session_remediate`, which plans and never acts: operators run the command that it recommends
after they have read why.
"""

from __future__ import annotations

from typing import Final

from netns_lab.platform.bgp_answers import answer_all, expect
from netns_lab.platform.bgp_diagnosis import diagnose
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.routing_intent import (
    DEFAULT_AS_NUMBER,
    MAX_AS_NUMBER,
    MIN_AS_NUMBER,
)
from netns_lab.platform.routing_rows import ibgp_networks
from netns_lab.platform.tables import Account


class UpdateAsNumber(Arguments):
    """The AS number of all iBGP networks of the account."""

    as_number: int


class RemediateSession(Arguments):
    """A session as `system_sdwan_get_bgp_sessions` lists it."""

    bgp_session_id: str
    dry_run: bool = True


def update_account_as_number(context: Context, arguments: UpdateAsNumber) -> Answer:
    """Sets the account's AS number; until then its iBGP networks run with 64512."""
    wanted = arguments.as_number
    if not MIN_AS_NUMBER <= wanted <= MAX_AS_NUMBER:
        raise ActionError(
            "as_number",
            f"must be a private AS number from {MIN_AS_NUMBER} to {MAX_AS_NUMBER} (RFC 6996),"
            f" got {wanted}",
        )
    account = context.session.get_one(Account, context.account_id)
    before = account.as_number or DEFAULT_AS_NUMBER
    account.as_number = wanted
    context.session.flush()
    networks = ibgp_networks(context)
    if wanted != before:
        # All of them at once: a node on two of them must never be told two numbers.
        for network in networks:
            context.touch(network.id)
        context.event("account.as_number_changed", was=before, as_number=wanted)
    return {
        "account": {
            "id": account.id,
            "name": account.name,
            "as_number": wanted,
            "previous_as_number": before,
        },
        "ibgp_networks": [{"id": network.id, "name": network.name} for network in networks],
    }


def get_bgp_sessions(context: Context, arguments: NetworkReference) -> Answer:
    """Lists a network's BGP sessions as each end of them reports its own; null: not measured."""
    return answer_all(context, context.network(arguments.network_id))


def remediate_session(context: Context, arguments: RemediateSession) -> Answer:
    """Plans what to do about a BGP session, with the likely cause; an operator carries it out."""
    if not arguments.dry_run:
        raise ActionError(
            "dry_run", "must be true: this skill plans only; run what it recommends after review"
        )
    return diagnose(context, expect(context, arguments.bgp_session_id))


BGP_SESSION_REMEDIATE: Final = action(
    "sdwan_bgp_session_remediate", RemediateSession, remediate_session, effect=Effect.READ
)

ACTIONS: Final[tuple[Action, ...]] = (
    action(
        "system_sdwan_update_account_as_number",
        UpdateAsNumber,
        update_account_as_number,
        idempotent=True,
    ),
    action("system_sdwan_get_bgp_sessions", NetworkReference, get_bgp_sessions, effect=Effect.READ),
    BGP_SESSION_REMEDIATE,
)
