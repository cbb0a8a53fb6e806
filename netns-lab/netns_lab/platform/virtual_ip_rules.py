"""What may be said of a virtual IP: its address and its holders. One set of rules for all actions.

A breach is an `ActionError` with the field and the rule, raised before anything is written. An agent
refuses a virtual IP that is somebody's host address, and with it the whole revision; so nothing of that
kind is taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address

from sqlalchemy import select

from netns_lab.platform import allocation
from netns_lab.platform.context import Context
from netns_lab.platform.device_rows import kept_addresses
from netns_lab.platform.errors import ActionError
from netns_lab.platform.tables import Network, Peer, VirtualIp


def virtual_ip_of(context: Context, virtual_ip_id: str) -> VirtualIp:
    """A virtual IP of the account; refuses any other."""
    row = context.session.get(VirtualIp, virtual_ip_id)
    network = None if row is None else context.session.get(Network, row.network_id)
    if row is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "virtual_ip_id",
            f"must be a virtual IP of the account; there is no {virtual_ip_id!r}",
        )
    return row


def address_for(context: Context, network: Network, wanted: str | None) -> str:
    """The address an operator wants, or the next free one. Raises `ActionError`."""
    taken = _taken(context, network)
    prefix = IPv6Network(network.prefix)
    if wanted is not None:
        return _check(wanted, prefix, taken)
    free = allocation.next_virtual_address(prefix, {int(each) for each in taken})
    if free is None:
        raise ActionError("network_id", f"must have a free address; {prefix} is full")
    return str(free)


def check_name(context: Context, network_id: str, name: str, except_id: str = "") -> None:
    """Raises `ActionError` when another virtual IP of the network has the name."""
    other = context.session.scalars(
        select(VirtualIp).where(
            VirtualIp.network_id == network_id,
            VirtualIp.name == name,
            VirtualIp.id != except_id,
        )
    ).first()
    if other is not None:
        raise ActionError("name", f"must be unique on the network; {name!r} is {other.address}")


def holders_for(
    context: Context, network: Network, primary: str, failover: Sequence[str]
) -> list[Peer]:
    """The peers that are to hold, the primary first. Raises `ActionError`."""
    found: dict[str, Peer] = {}
    fields = ["primary_holder_peer_id"]
    fields += [f"failover_holder_peer_ids.{index}" for index in range(len(failover))]
    for field, peer_id in zip(fields, (primary, *failover), strict=True):
        # Looked up among peers alone: a user device sleeps and roams, and is no holder.
        peer = context.session.get(Peer, peer_id)
        if peer is None or peer.network.account_id != context.account_id:
            raise ActionError(
                field,
                f"must be a node peer of network {network.name}; there is no {peer_id!r}",
            )
        if peer.network_id != network.id:
            raise ActionError(
                field,
                f"must be a peer of network {network.name}; {peer.node.name} ({peer.id}) is on"
                f" network {peer.network.name}",
            )
        if peer.id in found:
            raise ActionError(
                field, f"must not be a holder already; {peer.node.name} ({peer.id}) is given twice"
            )
        found[peer.id] = peer
    return list(found.values())


def _check(text: str, prefix: IPv6Network, taken: dict[IPv6Address, str]) -> str:
    field = "address"
    try:
        address = ip_address(text)
    except ValueError:
        raise ActionError(
            field, f"must be an IPv6 address without a prefix length, got {text!r}"
        ) from None
    if not isinstance(address, IPv6Address) or address not in prefix:
        raise ActionError(field, f"must be an IPv6 address inside {prefix}, got {text!r}")
    if str(address) != text:
        raise ActionError(field, f"must be written as {str(address)!r}, got {text!r}")
    if address == prefix.network_address:
        raise ActionError(
            field, f"must not be the subnet-router anycast address of {prefix} (RFC 4291)"
        )
    if address in taken:
        raise ActionError(field, f"must be free; {address} is that of {taken[address]}")
    if str(address) == allocation.stand_in_address(text):
        raise ActionError(
            field,
            "must not have ffff after the prefix: those addresses stand for peers on trial, got"
            f" {text!r}",
        )
    return text


def _taken(context: Context, network: Network) -> dict[IPv6Address, str]:
    """The addresses of a network that somebody has, and who."""
    taken = {
        IPv6Address(address): f"peer {id_}"
        for id_, address in context.session.execute(
            select(Peer.id, Peer.host_address).where(Peer.network_id == network.id)
        )
    }
    for address, whose in kept_addresses(context.session, network.id, context.now).items():
        taken[IPv6Address(address)] = whose
    for name, address in context.session.execute(
        select(VirtualIp.name, VirtualIp.address).where(VirtualIp.network_id == network.id)
    ):
        other = ip_address(address)
        if isinstance(other, IPv6Address):
            taken[other] = f"virtual IP {name}"
    return taken
