"""Addresses below the tunnels that the platform knows: its own, the nodes', and the endpoints.

No overlay prefix may cover one of them. A node would send the packets that carry its tunnels, or its
talk with the platform, into the tunnel that they configure, and nobody could take that back. Agents
refuse such a prefix themselves (each by what it knows); here it is refused before anybody gets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from sqlalchemy import select

from netns_lab.platform.context import Context
from netns_lab.platform.prefixes import Prefix
from netns_lab.platform.reachability import Address, split_endpoint
from netns_lab.platform.tables import Network, NodeInstance, Peer


def underlay(context: Context) -> Iterator[tuple[Prefix, str]]:
    """Every known address as a host prefix, with what it is. Lazy: the first one that is inside ends
    the search."""
    yield from called(context)
    yield from _nodes(context)


def called(context: Context) -> Iterator[tuple[Prefix, str]]:
    """Of those, what nodes call. A prefix of pods may well have addresses of the nodes themselves in
    it: each has one on the bridge of its pods."""
    for own in sorted(context.services.addresses(), key=str):
        yield host(own), f"the platform's own address {own}"
    yield from _endpoints(context)


def host(address: Address) -> Prefix:
    """The prefix of one address alone."""
    return ip_network(address)


def _endpoints(context: Context) -> Iterator[tuple[Prefix, str]]:
    rows = context.session.execute(
        select(Peer.wanted_endpoint, Peer.detected_endpoint, NodeInstance.name, Network.name)
        .join(Network, Network.id == Peer.network_id)
        .join(NodeInstance, NodeInstance.id == Peer.node_id)
        .where(Network.account_id == context.account_id)
    )
    for wanted, detected, node, network in rows:
        for endpoint in (wanted, detected):
            split = split_endpoint(endpoint)
            if split is not None:
                yield host(split[0]), f"the endpoint {endpoint} of {node} on network {network}"


def _nodes(context: Context) -> Iterator[tuple[Prefix, str]]:
    nodes = context.session.scalars(
        select(NodeInstance).where(NodeInstance.account_id == context.account_id)
    )
    for node in nodes:
        seen = context.services.observation(node.id)
        if seen.observed_address:
            yield (
                host(ip_address(seen.observed_address)),
                f"the address {seen.observed_address} that node {node.name} comes from",
            )
        for candidate in () if seen.report is None else seen.report.endpoint_candidates:
            split = split_endpoint(candidate.endpoint)
            if split is not None:
                yield host(split[0]), f"the address {split[0]} that node {node.name} reports"
