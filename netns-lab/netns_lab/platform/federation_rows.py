"""Rows of federations: which ones a network has, what they become in intent, and what they reserve.

What a side advertises is written down as it was agreed on; in force is what of it is there. A LAN that
was advertised and is gone is reached by nobody, and is reached again when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from itertools import chain

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from netns_lab.platform.federation_intent import FederationIntent, RemoteHub
from netns_lab.platform.federation_tables import FederationPeerRow
from netns_lab.platform.intent import PeerIntent
from netns_lab.platform.prefixes import Prefix, covers, lan_subnets, overlays, pod_subnets
from netns_lab.platform.queries import hub_order
from netns_lab.platform.reachability import split_endpoint
from netns_lab.platform.tables import Account, Network


class FederationStatus(Enum):
    """Where a federation stands; a revoked one stays so."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a federation: an account's network and what it advertises."""

    account_id: str
    network_id: str
    advertised: tuple[str, ...]


def sides(row: FederationPeerRow, account_id: str) -> tuple[Side, Side]:
    """Both ends, that of `account_id` first."""
    proposer = Side(row.account_id, row.network_id, tuple(row.advertised.split()))
    remote = Side(
        row.remote_account_id, row.remote_network_id, tuple(row.remote_advertised.split())
    )
    return (proposer, remote) if account_id == row.account_id else (remote, proposer)


def federations_of(
    session: Session, network_id: str, *states: FederationStatus
) -> Sequence[FederationPeerRow]:
    """The federations of a network in these states, whoever proposed them, oldest first."""
    row = FederationPeerRow
    return session.scalars(
        select(row)
        .where(
            or_(row.network_id == network_id, row.remote_network_id == network_id),
            row.status.in_([state.value for state in states]),
        )
        .order_by(row.proposed_at, row.id)
    ).all()


def federated_with(session: Session, network: Network) -> list[str]:
    """The networks that a network is federated with now, by id."""
    rows = federations_of(session, network.id, FederationStatus.ACTIVE)
    return [sides(row, network.account_id)[1].network_id for row in rows]


def active_of_account(session: Session, account_id: str) -> Sequence[FederationPeerRow]:
    """The active federations of an account."""
    row = FederationPeerRow
    return session.scalars(
        select(row)
        .where(
            or_(row.account_id == account_id, row.remote_account_id == account_id),
            row.status == FederationStatus.ACTIVE.value,
        )
        .order_by(row.proposed_at, row.id)
    ).all()


def federation_intents(
    session: Session, network: Network, peers_of: Callable[[str], Iterable[PeerIntent]]
) -> tuple[FederationIntent, ...]:
    """The active federations of a network. `peers_of` gives the peers of a network in their order."""
    found: list[FederationIntent] = []
    rows = federations_of(session, network.id, FederationStatus.ACTIVE)
    ours_there = _prefixes_of(session, network.account_id) if rows else ()
    for row in rows:
        ours, theirs = sides(row, network.account_id)
        remote = session.get(Network, theirs.network_id)
        if remote is None:
            continue
        peers = tuple(peers_of(remote.id))
        by_id = {peer.id: peer for peer in peers}
        prefixes = in_force(theirs.advertised, remote, peers)
        ipv4 = remote.overlay_ipv4_prefix if remote.overlay_ipv4_prefix in prefixes else ""
        found.append(
            FederationIntent(
                id=row.id,
                remote_account_id=theirs.account_id,
                remote_network_id=remote.id,
                remote_network_name=remote.name,
                hubs=tuple(
                    _hub(by_id[id_], bool(ipv4), ours_there) for id_ in hub_order(remote, peers)
                ),
                prefixes=prefixes,
                advertised=in_force(ours.advertised, network, tuple(peers_of(network.id))),
            )
        )
    return tuple(found)


def in_force(
    advertised: Iterable[str], network: Network, peers: Iterable[PeerIntent]
) -> tuple[str, ...]:
    """What of these prefixes is on the network now: in its overlay, or in a LAN of a peer."""
    there = [ip_network(prefix) for prefix in overlay_of(network)]
    there += [ip_network(lan) for peer in peers for lan in peer.lan_subnets]
    return tuple(
        prefix for prefix in advertised if any(covers(one, ip_network(prefix)) for one in there)
    )


def overlay_of(network: Network) -> tuple[str, ...]:
    """The overlay prefixes of a network: what it advertises when nobody says otherwise."""
    return tuple(prefix for prefix in (network.prefix, network.overlay_ipv4_prefix) if prefix)


def reserved(session: Session, account_id: str) -> Iterator[tuple[Prefix, str]]:
    """What active federations bring to an account: nothing of its own may overlap it. The other
    side's overlay is among it whatever it advertises: its hubs have their addresses there."""
    for row in active_of_account(session, account_id):
        ours, theirs = sides(row, account_id)
        remote = session.get(Network, theirs.network_id)
        own = session.get(Network, ours.network_id)
        name = session.get_one(Account, theirs.account_id).name
        for prefix in dict.fromkeys(
            (*(() if remote is None else (remote.prefix,)), *theirs.advertised)
        ):
            yield (
                ip_network(prefix),
                f"{prefix} of account {name}, which federation {row.id} brings to network "
                f"{ours.network_id if own is None else own.name}",
            )


def _prefixes_of(session: Session, account_id: str) -> tuple[Prefix, ...]:
    """All that the overlays of an account carry: overlays, pods, and the LANs of their peers."""
    found = chain.from_iterable(
        each(session, account_id) for each in (overlays, pod_subnets, lan_subnets)
    )
    return tuple(prefix for prefix, _ in found)


def _hub(peer: PeerIntent, ipv4: bool, there: Iterable[Prefix]) -> RemoteHub:
    """`there` are prefixes of the account that is told of this hub. An endpoint inside one of them
    would have its nodes refuse that path, since control traffic must not depend on a tunnel: so
    another account could take its LANs away. Such a hub has to call."""
    called = split_endpoint(peer.endpoint)
    return RemoteHub(
        id=peer.id,
        name=peer.name,
        host_address=peer.host_address,
        host_ipv4=peer.host_ipv4 if ipv4 else "",
        public_key=peer.keys.public,
        next_public_key=peer.keys.next_public,
        endpoint="" if called and any(called[0] in one for one in there) else peer.endpoint,
    )
