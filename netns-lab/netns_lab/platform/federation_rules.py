"""What may be agreed on between two accounts, and what either may do afterwards.

What crosses may overlap nothing on the other side: a host is one routing domain, so that holds of all
that the other account has, not only of the network it is about. What an account does not advertise,
and does not send to, may be whatever it likes: two accounts may both have a 192.168.1.0/24.

Refusals name what the caller may know: of the other account its name, and nothing of what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from itertools import chain

from netns_lab.platform import prefixes
from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_rows import (
    FederationStatus,
    federations_of,
    overlay_of,
    sides,
)
from netns_lab.platform.federation_tables import FederationPeerRow
from netns_lab.platform.pod_rules import everything
from netns_lab.platform.prefixes import Prefix
from netns_lab.platform.tables import Account, Network
from netns_lab.platform.underlay import underlay


def advertised(
    network: Network, wanted: Sequence[str] | None, field: str
) -> tuple[tuple[str, str], ...]:
    """What a network advertises, each with the argument it comes from: its overlay when nothing is
    said, as the runbook has it. Raises `ActionError`."""
    if wanted is None:
        return tuple((prefix, "") for prefix in overlay_of(network))
    own = [(ip_network(prefix), "its overlay") for prefix in overlay_of(network)]
    own += [(ip_network(lan.prefix), "a LAN") for peer in network.peers for lan in peer.lan_subnets]
    found: list[tuple[Prefix, str]] = []
    for index, text in enumerate(wanted):
        where = f"{field}.{index}"
        prefix = prefixes.parse(where, text)
        if not any(prefixes.covers(one, prefix) for one, _ in own):
            raise ActionError(
                where,
                f"must be inside the overlay or a LAN of network {network.name}"
                f" ({', '.join(str(one) for one, _ in own)}), got {prefix}",
            )
        prefixes.refuse_overlap(
            where, prefix, ((each, f"{each} of the same list") for each, _ in found)
        )
        found.append((prefix, where))
    return tuple((str(prefix), where) for prefix, where in found)


def refuse_proposal(
    context: Context, own: Network, remote: Network, ours: Iterable[tuple[str, str]]
) -> None:
    """Raises `ActionError` where the two networks cannot be one world: what would cross for certain.
    Everything else is looked at when it is accepted."""
    field = "attributes.remote_network_id"
    prefixes.refuse_overlap(field, ip_network(remote.prefix), _taken(context))
    for prefix, where in _crossing(own, ours):
        other = next((each for each in _of_network(remote) if prefixes.overlap(prefix, each)), None)
        if other is not None:
            raise ActionError(
                where or field,
                f"must not overlap what network {remote.name} of the other account has, got {prefix}",
            )


def refuse_acceptance(
    context: Context, row: FederationPeerRow, own: Network, ours: Iterable[tuple[str, str]]
) -> None:
    """Raises `ActionError` where what is to cross overlaps anything on the other side."""
    proposer = context.session.get(Network, row.network_id)
    if proposer is None:
        raise ActionError("id", f"must be of two networks; the one that proposed {row.id} is gone")
    for prefix, _ in _crossing(proposer, ((each, "") for each in row.advertised.split())):
        prefixes.refuse_overlap("id", prefix, _taken(context))
    for prefix, where in _crossing(own, ours):
        _refuse_of_other(context, row.account_id, where or "id", prefix)


def standing_between(
    context: Context, network_id: str, remote_network_id: str
) -> FederationPeerRow | None:
    """What two networks have agreed on, or are about to, whoever proposed it; None: nothing."""
    return next(
        (
            row
            for row in federations_of(
                context.session, network_id, FederationStatus.PROPOSED, FederationStatus.ACTIVE
            )
            if remote_network_id in (row.network_id, row.remote_network_id)
        ),
        None,
    )


def revoke(context: Context, row: FederationPeerRow, because: str) -> None:
    """Ends it for both sides."""
    row.status = FederationStatus.REVOKED.value
    row.revoked_at, row.revoked_by = context.now, context.account_id
    context.session.flush()
    context.touch(row.network_id)
    context.touch(row.remote_network_id)
    tell(context, row, "revoked", because=because)


def tell(context: Context, row: FederationPeerRow, what: str, **details: object) -> None:
    """An event for both sides, each of which reads of its own network."""
    for account_id in (row.account_id, row.remote_account_id):
        own, other = sides(row, account_id)
        context.event(
            f"federation.{what}",
            account_id=account_id,
            federation_peer_id=row.id,
            network_id=own.network_id,
            remote_account_id=other.account_id,
            by_account_id=context.account_id,
            **details,
        )


def leave(context: Context, network: Network, force: bool) -> None:
    """Ends all federations of a network that is about to be deleted. Raises `ActionError` where one is
    active and nobody said `force`."""
    rows = federations_of(
        context.session, network.id, FederationStatus.PROPOSED, FederationStatus.ACTIVE
    )
    active = [row.id for row in rows if row.status == FederationStatus.ACTIVE.value]
    if active and not force:
        raise ActionError(
            "force",
            f"must be true, or {', '.join(active)} be revoked first: {network.name} is federated",
        )
    for row in rows:
        revoke(context, row, f"network {network.name} was deleted")


def _crossing(network: Network, ours: Iterable[tuple[str, str]]) -> Iterator[tuple[Prefix, str]]:
    """What the other side gets of a network. Its hubs have their addresses in its overlay, whatever it
    advertises."""
    seen: set[str] = set()
    for prefix, where in (*ours, (network.prefix, "")):
        if prefix not in seen:
            seen.add(prefix)
            yield ip_network(prefix), where


def _of_network(network: Network) -> Iterator[Prefix]:
    for prefix in (*overlay_of(network), network.pod_subnet_prefix):
        if prefix:
            yield ip_network(prefix)
    for peer in network.peers:
        for lan in peer.lan_subnets:
            yield ip_network(lan.prefix)


def _taken(context: Context) -> Iterator[tuple[Prefix, str]]:
    return chain(underlay(context), everything(context))


def _refuse_of_other(context: Context, account_id: str, field: str, prefix: Prefix) -> None:
    if any(
        prefixes.overlap(prefix, each)
        for each, _ in _taken(replace(context, account_id=account_id))
    ):
        name = context.session.get_one(Account, account_id).name
        raise ActionError(field, f"must not overlap anything that account {name} has, got {prefix}")
