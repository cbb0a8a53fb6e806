"""Prefixes that operators write: parsed strictly, and compared with everything else they may collide
with. A collision names both sides, because the fix depends on which one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.errors import ActionError
from netns_lab.platform.tables import LanSubnet, Network, Peer, VirtualIp

Prefix = IPv4Network | IPv6Network

UNIQUE_LOCAL: Final = IPv6Network("fd00::/8")
"""Locally assigned unique local addresses (RFC 4193, section 3.1)."""

UNROUTABLE: Final = (
    *map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")),
    *map(ip_network, ("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8")),
)
"""Never on an overlay (RFC 6890): "this network", loopback, link-local, multicast, reserved,
IPv4-mapped. Agents refuse them, and with them the whole revision; so nothing of it is taken here."""


def parse(field: str, text: str) -> Prefix:
    """A prefix without host bits, not a default route."""
    prefix = _read(field, text)
    if prefix.prefixlen == 0:
        raise ActionError(field, f"must not be a default route, got {text!r}")
    _refuse_unroutable(field, prefix)
    return prefix


def parse_selected(field: str, text: str) -> Prefix:
    """A prefix that packets are selected by: as the contract writes it, and one that is routed at all.

    A default route is one; whoever means everyone of one family says so with it.
    """
    prefix = _read(field, text)
    if str(prefix) != text:
        raise ActionError(field, f"must be written as {str(prefix)!r}, got {text!r}")
    _refuse_unroutable(field, prefix)
    return prefix


def parse_overlay(field: str, text: str) -> IPv6Network:
    """The /64 of a network."""
    prefix = parse(field, text)
    if not (
        isinstance(prefix, IPv6Network)
        and prefix.prefixlen == 64
        and prefix.subnet_of(UNIQUE_LOCAL)
    ):
        raise ActionError(field, f"must be an IPv6 /64 inside {UNIQUE_LOCAL}, got {text!r}")
    return prefix


def overlap(one: Prefix, two: Prefix) -> bool:
    """Whether two prefixes share an address; of different families they never do."""
    return one.version == two.version and one.overlaps(two)


def covers(outer: Prefix, inner: Prefix) -> bool:
    """Whether all of `inner` is in `outer`."""
    return outer.prefixlen <= inner.prefixlen and overlap(outer, inner)


def overlays(session: Session, account_id: str) -> Iterator[tuple[Prefix, str]]:
    """Overlay prefixes of all networks of the account, each with what it is."""
    for network in session.scalars(select(Network).where(Network.account_id == account_id)):
        yield ip_network(network.prefix), f"the prefix {network.prefix} of network {network.name}"
        if network.overlay_ipv4_prefix:
            yield (
                ip_network(network.overlay_ipv4_prefix),
                f"the overlay_ipv4_prefix {network.overlay_ipv4_prefix} of network {network.name}",
            )


def pod_subnets(session: Session, account_id: str) -> Iterator[tuple[Prefix, str]]:
    """pod_subnet_prefix of all networks of the account that have one."""
    for network in session.scalars(select(Network).where(Network.account_id == account_id)):
        if network.pod_subnet_prefix:
            yield (
                ip_network(network.pod_subnet_prefix),
                f"the pod_subnet_prefix {network.pod_subnet_prefix} of network {network.name}",
            )


def lan_subnets(
    session: Session, account_id: str, except_peer: str = ""
) -> Iterator[tuple[Prefix, str]]:
    """LAN subnets of all peers of the account; of `except_peer` not."""
    rows = session.execute(
        select(LanSubnet, Network.name)
        .join(Peer, Peer.id == LanSubnet.peer_id)
        .join(Network, Network.id == Peer.network_id)
        .where(Network.account_id == account_id, Peer.id != except_peer)
    )
    for lan, network in rows:
        yield (
            ip_network(lan.prefix),
            f"lan_subnets {lan.prefix} of peer {lan.peer_id} on network {network}",
        )


def virtual_ips(session: Session, account_id: str) -> Iterator[tuple[Prefix, str]]:
    """Virtual IPs of all networks of the account, as /128."""
    rows = session.scalars(
        select(VirtualIp)
        .join(Network, Network.id == VirtualIp.network_id)
        .where(Network.account_id == account_id)
    )
    for virtual_ip in rows:
        yield ip_network(virtual_ip.address), f"virtual IP {virtual_ip.name} {virtual_ip.address}"


def is_unroutable(prefix: Prefix) -> bool:
    """Whether `prefix` is inside a range that is never routed; a default route is not."""
    return any(
        prefix.prefixlen >= range_.prefixlen and overlap(prefix, range_) for range_ in UNROUTABLE
    )


def _read(field: str, text: str) -> Prefix:
    try:
        prefix = ip_network(text)
    except ValueError:
        prefix = None
    # A scope (fd00::%1/64) is a matter of one host, and agents refuse it.
    if prefix is None or "%" in text:
        raise ActionError(field, f"must be an IPv4 or IPv6 prefix without host bits, got {text!r}")
    return prefix


def _refuse_unroutable(field: str, prefix: Prefix) -> None:
    if is_unroutable(prefix):
        raise ActionError(
            field,
            "must be unicast that can be routed (not multicast, link-local or loopback),"
            f" got {str(prefix)!r}",
        )


def refuse_overlap(field: str, prefix: Prefix, others: Iterator[tuple[Prefix, str]]) -> None:
    """Raises `ActionError` at the first of `others` that overlaps `prefix`."""
    for other, what in others:
        if overlap(prefix, other):
            raise ActionError(field, f"must not overlap {what}, got {prefix}")
