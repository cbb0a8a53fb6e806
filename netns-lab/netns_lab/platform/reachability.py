"""Whether a node can be reached from outside, and where: drawn from its report, never guessed. Pure.

A node *may be* publicly reachable when one of its interfaces has the very address the platform sees it
come from: then no NAT stands between. A firewall cannot be seen in a report; `standing` and `trials`
find it, by whether peers that the node has not called get an answer. An operator who knows better says
`publicly_reachable`, which always wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

from powernode.sdwan.v1 import status_pb2

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Detected:
    """What was found for one network: where to reach the node, and whether that is its own address."""

    publicly_reachable: bool
    endpoint: str


def observed_address(grpc_peer: str) -> Address | None:
    """The source address in gRPC's "ipv4:192.0.2.1:4711" or "ipv6:[2001:db8::1]:4711"; None: none."""
    kind, _, rest = unquote(grpc_peer).partition(":")
    host, _, _ = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 callers as mapped addresses; interfaces never have those.
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def detect(
    candidates: Iterable[status_pb2.EndpointCandidate],
    network_id: str,
    observed: Address | None,
    listen_port: int,
) -> Detected | None:
    """What a report says of one network; None when it says nothing, which changes nothing."""
    mine = [
        split
        for candidate in candidates
        if candidate.network_id == network_id
        and candidate.source == status_pb2.ENDPOINT_SOURCE_INTERFACE
        and (split := split_endpoint(candidate.endpoint)) is not None
    ]
    if observed is None or not mine:
        return None
    if observed.is_loopback or observed.is_link_local:
        return None  # it is on the platform's own host or link: where others reach it is not known
    for address, port in mine:
        if address == observed and port is not None:
            return Detected(True, join_endpoint(address, port))
    return Detected(False, join_endpoint(observed, listen_port))


def split_endpoint(text: str) -> tuple[Address, int | None] | None:
    """Address and port of "203.0.113.5:51820", "[2001:db8::5]:51820", or of an address alone."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if not port:
        return address, None
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        return None
    return address, int(port)


def join_endpoint(address: Address, port: int) -> str:
    """The contract's text of an endpoint."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
