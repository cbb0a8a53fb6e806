"""What may be said of a peer, and what it is given: one set of rules for attaching and updating.

A breach is an `ActionError` with the field and the rule, raised before anything is written.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import chain
from socket import AF_INET, AF_INET6, AddressFamily, inet_pton

from sqlalchemy import select

from netns_lab.platform import allocation, keys, prefixes
from netns_lab.platform.context import Context
from netns_lab.platform.device_rows import kept_addresses, kept_ipv4
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_rows import reserved
from netns_lab.platform.intent import KeySource
from netns_lab.platform.reachability import split_endpoint
from netns_lab.platform.tables import (
    Network,
    NodeInstance,
    Peer,
    PeerKey,
    PortMappingRow,
    VirtualIp,
)


def host_address(context: Context, network: Network) -> str:
    """The next free /128. Raises `ActionError`."""
    held = context.session.scalars(select(Peer.host_address).where(Peer.network_id == network.id))
    taken = {_number(AF_INET6, address) for address in held}
    virtual = context.session.scalars(
        select(VirtualIp.address).where(VirtualIp.network_id == network.id)
    )
    taken.update(_number(AF_INET6, address) for address in virtual)
    kept = kept_addresses(context.session, network.id, context.now)
    taken.update(_number(AF_INET6, address) for address in kept)
    address = allocation.next_host_address(IPv6Network(network.prefix), taken)
    if address is None:
        raise ActionError("network_id", f"must have a free address; {network.prefix} is full")
    return str(address)


def host_ipv4(context: Context, network: Network) -> str:
    """The next free /32; empty: the network has none. Raises `ActionError`."""
    if not network.overlay_ipv4_prefix:
        return ""
    held = context.session.scalars(
        select(Peer.host_ipv4).where(Peer.network_id == network.id, Peer.host_ipv4 != "")
    )
    taken = {_number(AF_INET, address) for address in held}
    kept = kept_ipv4(context.session, network.id, context.now)
    taken.update(_number(AF_INET, address) for address in kept)
    address = allocation.next_host_ipv4(IPv4Network(network.overlay_ipv4_prefix), taken)
    if address is None:
        raise ActionError(
            "network_id", f"must have a free IPv4 address; {network.overlay_ipv4_prefix} is full"
        )
    return str(address)


def _number(family: AddressFamily, address: str) -> int:
    # Ten times as fast as IPv6Address, for thousands of them in each attach.
    return int.from_bytes(inet_pton(family, address))


def check_endpoint(context: Context, text: str | None) -> int | None:
    """The port of an operator's endpoint, None: it names none. Raises `ActionError`.

    Agents refuse an address that no other host can send to, and with it the whole revision; one inside
    an overlay, or a LAN or pods behind a tunnel, would have the packets that carry a tunnel go through
    one.
    """
    if text is None:
        return None
    split = split_endpoint(text)
    if split is None:
        raise ActionError(
            "endpoint_address",
            "must be an address, or an address and a port from 1 to 65535, such as"
            f" 203.0.113.5:51820 or [2001:db8::5]:51820, got {text!r}",
        )
    address, port = split
    prefix = ip_network(address)
    if prefixes.is_unroutable(prefix):
        raise ActionError(
            "endpoint_address",
            "must be a unicast address that other hosts can send to (not loopback, link-local,"
            f" multicast, reserved or IPv4-mapped), got {address}",
        )
    scope = (context.session, context.account_id)
    inside = chain(
        prefixes.overlays(*scope),
        prefixes.lan_subnets(*scope),
        prefixes.pod_subnets(*scope),
        reserved(*scope),
    )
    prefixes.refuse_overlap("endpoint_address", prefix, inside)
    return port


def listen_port(context: Context, node: NodeInstance, endpoint: str | None) -> int:
    """The endpoint's own port where it is free: a host without a NAT is reached where it listens."""
    wanted = check_endpoint(context, endpoint)
    taken = set(
        context.session.scalars(select(Peer.listen_port).where(Peer.node_id == node.id)).all()
    )
    # A mapped port leads elsewhere: WireGuard would never hear of what comes in by it.
    taken.update(
        context.session.scalars(
            select(PortMappingRow.external_port)
            .join(Peer, Peer.id == PortMappingRow.hub_peer_id)
            .where(Peer.node_id == node.id, PortMappingRow.protocol == "udp")
        )
    )
    port = allocation.next_listen_port(taken, wanted)
    if port is None:
        raise ActionError("node_instance_id", f"must have a free UDP port; {node.name} has none")
    return port


def first_key(context: Context, source: str) -> PeerKey:
    """Generation 1, made here unless the node makes it."""
    public, private = keys.generate() if source == KeySource.PLATFORM.value else ("", "")
    return PeerKey(generation=1, public_key=public, private_key=private, created_at=context.now)
