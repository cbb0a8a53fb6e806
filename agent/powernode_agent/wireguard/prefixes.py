"""Prefixes as text, fast: what is shown to people, and what wireguard-go is told."""

from __future__ import annotations

from ipaddress import IPv4Network
from socket import AF_INET6, inet_ntop

from powernode_agent.model.values import Prefix


def text_of(prefix: Prefix) -> str:
    """The canonical text of RFC 5952, as `str` gives it.

    ipaddress takes 15 microseconds to write an IPv6 prefix, which was most of a plan for thousands.
    """
    if isinstance(prefix, IPv4Network) or prefix.network_address.ipv4_mapped is not None:
        return str(prefix)
    return f"{inet_ntop(AF_INET6, prefix.network_address.packed)}/{prefix.prefixlen}"
