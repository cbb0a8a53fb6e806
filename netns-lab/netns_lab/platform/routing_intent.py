"""What iBGP has to know of an account and of its peers, as plain frozen values.

The numbers are the same for all networks of a node, because a host has one BGP speaker: an agent
refuses a state in which they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

MIN_AS_NUMBER: Final = 64512
MAX_AS_NUMBER: Final = 65534
"""The private range of two bytes (RFC 6996)."""

DEFAULT_AS_NUMBER: Final = MIN_AS_NUMBER
"""What an account's networks run with until somebody says otherwise: a network with routing_mode ibgp
works as soon as it is made."""

MAX_ROUTER_NUMBER: Final = 0xFFFE
"""The last one of 10.255.0.0/16 is the cluster id."""

CLUSTER_ID: Final = str(IPv4Address("10.255.255.255"))
"""That of all reflectors: what one of them has reflected is no news to another (RFC 4456)."""

_ROUTER_IDS: Final = int(IPv4Address("10.255.0.0"))


@dataclass(frozen=True, slots=True)
class PeerRouting:
    """What iBGP knows of a peer beyond its place on the network. `lan_descriptions` are pairs of a LAN
    prefix and what operators say of it."""

    router_id: str = ""
    lan_descriptions: tuple[tuple[str, str], ...] = ()


NO_ROUTING: Final = PeerRouting()


def router_id_of(number: int) -> str:
    """Router id of a node by its number in the account; empty: it has none yet."""
    return str(IPv4Address(_ROUTER_IDS + number)) if number else ""
