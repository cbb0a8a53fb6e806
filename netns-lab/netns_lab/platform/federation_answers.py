"""Federations as actions answer them: each side sees its own network as `network_id`, and of the other
one ids, names and prefixes.
"""

from __future__ import annotations

from netns_lab.platform.context import Context
from netns_lab.platform.federation_links import federation_links
from netns_lab.platform.federation_rows import FederationStatus, sides
from netns_lab.platform.federation_tables import FederationPeerRow
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.tables import Account, Network


def describe_federation(context: Context, row: FederationPeerRow) -> dict[str, object]:
    """A federation, as the calling account sees it."""
    ours, theirs = sides(row, context.account_id)
    session = context.session
    own, remote = session.get(Network, ours.network_id), session.get(Network, theirs.network_id)
    accepted = row.status != FederationStatus.PROPOSED.value and row.accepted_at is not None
    active = row.status == FederationStatus.ACTIVE.value
    mine, yours = list(ours.advertised), list(theirs.advertised)
    return {
        "id": row.id,
        "status": row.status,
        "peer_kind": row.peer_kind,
        "proposed_by_account_id": row.account_id,
        "network_id": ours.network_id,
        "network_name": None if own is None else own.name,
        "remote_account_id": theirs.account_id,
        "remote_account_name": session.get_one(Account, theirs.account_id).name,
        "remote_network_id": theirs.network_id,
        "remote_network_name": None if remote is None else remote.name,
        # Until it is accepted, the accepting side has not said what it advertises.
        "advertised_prefixes": mine if accepted or row.account_id == context.account_id else None,
        "remote_advertised_prefixes": (
            yours if accepted or row.account_id != context.account_id else None
        ),
        "links": (
            federation_links(context, own, remote)
            if active and own is not None and remote is not None
            else []
        ),
        "proposed_at": _time(row.proposed_at),
        "accepted_at": _time(row.accepted_at),
        "revoked_at": _time(row.revoked_at),
        "revoked_by_account_id": row.revoked_by or None,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso(int(seconds * 1000))
