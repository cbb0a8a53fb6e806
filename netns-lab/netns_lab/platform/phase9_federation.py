"""Runbook, phase 9: federation peers. Account A proposes, account B accepts, either side revokes.

    proposed   A has said what it wants and what it advertises; nothing crosses
    active     B has accepted, and said what it advertises: hubs of both networks are peers
    revoked    over, by either side, also before it was accepted; for good

`advertised_prefixes` goes beyond the runbook: each side may let the other reach less than its whole
overlay, or its LANs as well. Without it the overlay is reached and nothing else, as the runbook says.
There is no approval in between: the runbook has either side revoke, and nobody should need leave to
shut his own door.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final, Literal

from pydantic import Field

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_answers import describe_federation
from netns_lab.platform.federation_rows import FederationStatus, federations_of
from netns_lab.platform.federation_rules import (
    advertised,
    refuse_acceptance,
    refuse_proposal,
    revoke,
    standing_between,
    tell,
)
from netns_lab.platform.federation_tables import FederationPeerRow
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Account, Network

SPAWN: Final = "POST /api/v1/system/federation/children/spawn"
"""Where platforms federate with each other."""

PROPOSED: Final = FederationStatus.PROPOSED

Prefixes = Annotated[list[str], Field(min_length=1, max_length=64)]


class Attributes(Arguments):
    """What is proposed. `advertised_prefixes` left out: the network's overlay."""

    network_id: str
    remote_account_id: str
    remote_network_id: str
    peer_kind: Literal["sdwan_only", "platform"]
    advertised_prefixes: Prefixes | None = None


class ProposeFederationPeer(Arguments):
    """`attributes`, as the runbook writes it."""

    attributes: Attributes


class AcceptFederationPeer(Arguments):
    """`advertised_prefixes` left out: the accepting network's overlay."""

    id: str
    advertised_prefixes: Prefixes | None = None


class RevokeFederationPeer(Arguments):
    """A federation peer by id."""

    id: str


class ListFederationPeers(Arguments):
    """Those of one network of the account."""

    network_id: str


def propose_federation_peer(context: Context, arguments: ProposeFederationPeer) -> Answer:
    """Proposes to another account to bridge a network of it with one of ours."""
    wish = arguments.attributes
    if wish.peer_kind == "platform":
        raise ActionError(
            "attributes.peer_kind",
            f"must be sdwan_only here: a platform peer is proposed by {SPAWN}"
            " (System::SpawnPlatformService)",
        )
    own = context.network(wish.network_id, "attributes.network_id")
    remote = _remote_network(context, wish)
    standing = standing_between(context, own.id, remote.id)
    if standing is not None:
        mine = standing.account_id == context.account_id
        hint = (
            "accept it, or revoke it" if not mine and _is(standing, PROPOSED) else "revoke it first"
        )
        raise ActionError(
            "attributes.remote_network_id",
            f"must not be federated with {own.name} already: {standing.id} is {standing.status};"
            f" {hint}",
        )
    ours = advertised(own, wish.advertised_prefixes, "attributes.advertised_prefixes")
    refuse_proposal(context, own, remote, ours)
    row = FederationPeerRow(
        id=f"fed-{secrets.token_hex(6)}",
        account_id=context.account_id,
        network_id=own.id,
        remote_account_id=remote.account_id,
        remote_network_id=remote.id,
        peer_kind=wish.peer_kind,
        status=PROPOSED.value,
        advertised=" ".join(prefix for prefix, _ in ours),
        remote_advertised="",
        proposed_at=context.now,
        accepted_at=None,
        revoked_at=None,
        revoked_by="",
    )
    context.session.add(row)
    context.session.flush()
    tell(context, row, "proposed")
    return {"federation_peer": describe_federation(context, row)}


def accept_federation_peer(context: Context, arguments: AcceptFederationPeer) -> Answer:
    """Accepts what another account proposed; from then on the two networks reach each other."""
    row = _federation(context, arguments.id)
    if not _is(row, PROPOSED):
        raise ActionError("id", f"must be proposed; {row.id} is {row.status}")
    if row.remote_account_id != context.account_id:
        raise ActionError("id", f"must be accepted by the account it was proposed to: {row.id}")
    own = context.network(row.remote_network_id, "id")
    ours = advertised(own, arguments.advertised_prefixes, "advertised_prefixes")
    refuse_acceptance(context, row, own, ours)
    row.status, row.accepted_at = FederationStatus.ACTIVE.value, context.now
    row.remote_advertised = " ".join(prefix for prefix, _ in ours)
    context.session.flush()
    context.touch(row.network_id)
    context.touch(row.remote_network_id)
    tell(context, row, "accepted")
    return {"federation_peer": describe_federation(context, row)}


def revoke_federation_peer(context: Context, arguments: RevokeFederationPeer) -> Answer:
    """Ends a federation for both sides, or withdraws or declines a proposal."""
    row = _federation(context, arguments.id)
    if _is(row, FederationStatus.REVOKED):
        raise ActionError("id", f"must not be revoked; {row.id} is")
    revoke(context, row, "an operator said so")
    return {"federation_peer": describe_federation(context, row)}


def list_federation_peers(context: Context, arguments: ListFederationPeers) -> Answer:
    """Lists a network's federations with networks of other accounts, oldest first."""
    network = context.network(arguments.network_id)
    rows = federations_of(context.session, network.id, *FederationStatus)
    return {"federation_peers": [describe_federation(context, row) for row in rows]}


def _remote_network(context: Context, wish: Attributes) -> Network:
    """The network of the other account; refuses an own one, and one that is not that account's."""
    field, account_id = "attributes.remote_account_id", wish.remote_account_id
    if account_id == context.account_id:
        raise ActionError(field, "must be another account; within one, attach peers to the network")
    if context.session.get(Account, account_id) is None:
        raise ActionError(field, f"must be an account; there is no {account_id!r}")
    network = context.session.get(Network, wish.remote_network_id)
    if network is None or network.account_id != account_id:
        raise ActionError(
            "attributes.remote_network_id",
            f"must be a network of account {account_id}; it has no {wish.remote_network_id!r}",
        )
    return network


def _federation(context: Context, id_: str) -> FederationPeerRow:
    """One that the account is a side of; refuses any other."""
    row = context.session.get(FederationPeerRow, id_)
    if row is None or context.account_id not in (row.account_id, row.remote_account_id):
        raise ActionError("id", f"must be a federation peer of the account; there is no {id_!r}")
    return row


def _is(row: FederationPeerRow, status: FederationStatus) -> bool:
    return row.status == status.value


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_propose_federation_peer", ProposeFederationPeer, propose_federation_peer),
    action("system_sdwan_accept_federation_peer", AcceptFederationPeer, accept_federation_peer),
    action(
        "system_sdwan_revoke_federation_peer",
        RevokeFederationPeer,
        revoke_federation_peer,
        effect=Effect.DESTRUCTIVE,
    ),
    action(
        "system_sdwan_list_federation_peers",
        ListFederationPeers,
        list_federation_peers,
        effect=Effect.READ,
    ),
)
