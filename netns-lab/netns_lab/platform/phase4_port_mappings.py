"""Runbook, phase 4: port mappings, traffic from outside into the overlay.

`system_sdwan_create_port_mapping`, `system_sdwan_list_port_mappings`,
`system_sdwan_delete_port_mapping`. A mapping is served by one hub, which is chosen when it is made:
the publicly reachable peer of the network that has the external address. It outlives hub and target;
without either it is served by nobody, and the list says so.
"""

from __future__ import annotations

import secrets
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import select

from netns_lab.platform import prefixes
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import Part
from netns_lab.platform.filter_reports import Speaker, iso, mapping_on, speakers
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.queries import endpoint_of, is_public
from netns_lab.platform.reachability import Address, split_endpoint
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Network, Peer, PortMappingRow, VirtualIp
from powernode.sdwan.v1 import status_pb2

Port = Annotated[int, Field(ge=1, le=65535)]


class CreatePortMapping(Arguments):
    """Exactly one of `internal_peer_id` and `internal_virtual_ip_id`, which goes beyond the runbook."""

    network_id: str
    external_address: str
    external_port: Port
    internal_port: Port
    protocol: Literal["tcp", "udp"]
    internal_peer_id: str | None = None
    internal_virtual_ip_id: str | None = None


class MappingReference(Arguments):
    """A port mapping by id."""

    port_mapping_id: str


def create_port_mapping(context: Context, arguments: CreatePortMapping) -> Answer:
    """Maps a port of a hub's external address to a peer or a virtual IP inside."""
    network = context.network(arguments.network_id)
    external = _address(arguments.external_address)
    internal = _target(context, network, arguments)
    hub = _hub(context, network, external)
    if external.version == 6 and ip_address(internal).version == 4:
        raise ActionError(
            "external_address",
            f"must be IPv4: the target has the IPv4 address {internal} alone, got {external}",
        )
    _refuse_clash(context, hub, external, arguments)
    row = PortMappingRow(
        id=f"map-{secrets.token_hex(6)}",
        network_id=network.id,
        hub_peer_id=hub.id,
        external_address=str(external),
        external_port=arguments.external_port,
        protocol=arguments.protocol,
        internal_peer_id=arguments.internal_peer_id or "",
        internal_virtual_ip_id=arguments.internal_virtual_ip_id or "",
        internal_port=arguments.internal_port,
        created_at=context.now,
    )
    context.session.add(row)
    context.session.flush()
    context.touch_filter(network.id, Part.PORT_MAPPING, row.id)
    context.event("port_mapping.created", network_id=network.id, port_mapping_id=row.id)
    return {"port_mapping": _describe(context, row)}


def list_port_mappings(context: Context, arguments: NetworkReference) -> Answer:
    """Lists a network's port mappings, each with what the hub that serves it reports."""
    network = context.network(arguments.network_id)
    rows = context.session.scalars(
        select(PortMappingRow)
        .where(PortMappingRow.network_id == network.id)
        .order_by(PortMappingRow.created_at, PortMappingRow.id)
    )
    hubs = {speaker.peer_id: speaker for speaker in speakers(context, network)}
    return {
        "port_mappings": [
            {**_describe(context, row), "hub": _hub_says(hubs.get(row.hub_peer_id), row)}
            for row in rows
        ]
    }


def delete_port_mapping(context: Context, arguments: MappingReference) -> Answer:
    """Deletes a port mapping; its hub closes the port."""
    row = context.session.get(PortMappingRow, arguments.port_mapping_id)
    network = None if row is None else context.session.get(Network, row.network_id)
    if row is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "port_mapping_id",
            f"must be a port mapping of the account; there is no {arguments.port_mapping_id!r}",
        )
    described = _describe(context, row)
    context.session.delete(row)
    context.session.flush()
    context.touch_filter(network.id, Part.PORT_MAPPING, row.id)
    context.event("port_mapping.deleted", network_id=network.id, port_mapping_id=row.id)
    return {"port_mapping": {**described, "status": "deleted"}}


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ActionError(
            "external_address", f"must be an IPv4 or IPv6 address, got {text!r}"
        ) from None
    if str(address) != text:
        raise ActionError("external_address", f"must be written as {str(address)!r}, got {text!r}")
    return address


def _target(context: Context, network: Network, arguments: CreatePortMapping) -> str:
    """The address that the mapping leads to. Raises `ActionError`."""
    peer_id, virtual_ip_id = arguments.internal_peer_id, arguments.internal_virtual_ip_id
    if peer_id is not None and virtual_ip_id is None:
        peer = context.peer(peer_id, "internal_peer_id")
        if peer.network_id != network.id:
            raise ActionError(
                "internal_peer_id",
                f"must be a peer of network {network.name}; {peer.node.name} ({peer.id}) is on"
                f" network {peer.network.name}",
            )
        return peer.host_address
    if virtual_ip_id is not None and peer_id is None:
        virtual_ip = context.session.get(VirtualIp, virtual_ip_id)
        if virtual_ip is None or virtual_ip.network_id != network.id:
            raise ActionError(
                "internal_virtual_ip_id",
                f"must be a virtual IP of network {network.name}; there is no {virtual_ip_id!r}",
            )
        return virtual_ip.address
    raise ActionError("internal_peer_id", "must be given, or internal_virtual_ip_id, but not both")


def _hub(context: Context, network: Network, external: Address) -> Peer:
    """The hub that has the address. Raises `ActionError`, naming the addresses that hubs have."""
    known: list[str] = []
    for peer in network.peers:
        if not is_public(peer):
            continue
        for address in _addresses(context, peer):
            if address == external:
                return peer
            known.append(f"{address} ({peer.node.name})")
    would_do = ", ".join(known) or "none: no peer is publicly reachable"
    raise ActionError(
        "external_address",
        f"must be an address of a publicly reachable hub of network {network.name}; there is"
        f" {would_do}, got {external}",
    )


def _addresses(context: Context, peer: Peer) -> list[Address]:
    """Where outsiders may reach a peer: its endpoint, and what its node reports of its interfaces."""
    endpoints = [endpoint_of(peer)]
    report = context.services.observation(peer.node_id).report
    if report is not None:
        endpoints += [
            candidate.endpoint
            for candidate in report.endpoint_candidates
            if candidate.network_id == peer.network_id
            and candidate.source == status_pb2.ENDPOINT_SOURCE_INTERFACE
        ]
    split = (split_endpoint(endpoint) for endpoint in endpoints if endpoint)
    addresses = dict.fromkeys(each[0] for each in split if each is not None)
    return [each for each in addresses if not prefixes.is_unroutable(ip_network(each))]


def _refuse_clash(
    context: Context, hub: Peer, external: Address, arguments: CreatePortMapping
) -> None:
    port, protocol = arguments.external_port, arguments.protocol
    taken = context.session.scalars(
        select(PortMappingRow)
        .join(Network, Network.id == PortMappingRow.network_id)
        .where(
            Network.account_id == context.account_id,
            PortMappingRow.external_address == str(external),
            PortMappingRow.external_port == port,
            PortMappingRow.protocol == protocol,
        )
    ).first()
    if taken is not None:
        raise ActionError(
            "external_port",
            f"must be free; {protocol} {port} of {external} is mapped by {taken.id}",
        )
    if protocol != "udp":
        return
    # Of all networks of the node: they share its addresses.
    listening = context.session.scalars(
        select(Peer).where(Peer.node_id == hub.node_id, Peer.listen_port == port)
    ).first()
    if listening is not None:
        raise ActionError(
            "external_port",
            f"must not be udp {port}, on which WireGuard of network {listening.network.name}"
            f" listens on {hub.node.name}",
        )


def _describe(context: Context, row: PortMappingRow) -> dict[str, object]:
    peer = context.session.get(Peer, row.internal_peer_id) if row.internal_peer_id else None
    virtual_ip = (
        context.session.get(VirtualIp, row.internal_virtual_ip_id)
        if row.internal_virtual_ip_id
        else None
    )
    internal = peer.host_address if peer else virtual_ip.address if virtual_ip else None
    return {
        "id": row.id,
        "network_id": row.network_id,
        "external_address": row.external_address,
        "external_port": row.external_port,
        "internal_peer_id": row.internal_peer_id or None,
        "internal_virtual_ip_id": row.internal_virtual_ip_id or None,
        "internal_address": internal,
        "internal_port": row.internal_port,
        "protocol": row.protocol,
        "hub_peer_id": row.hub_peer_id,
        "created_at": iso(int(row.created_at * 1000)),
        "status": "active",
        "not_served_because": _not_served(context, row, internal),
    }


def _not_served(context: Context, row: PortMappingRow, internal: str | None) -> str | None:
    """Why no hub serves it; null: one should."""
    hub = context.session.get(Peer, row.hub_peer_id)
    if hub is None:
        return f"hub {row.hub_peer_id} was detached from the network"
    if not is_public(hub):
        return f"hub {hub.node.name} is not publicly reachable any more"
    if internal is None and row.internal_peer_id:
        return f"peer {row.internal_peer_id} was detached from the network"
    if internal is None:
        return f"virtual IP {row.internal_virtual_ip_id} was deleted"
    return None


def _hub_says(hub: Speaker | None, row: PortMappingRow) -> dict[str, object] | None:
    """What the hub reports of a mapping; null: it is gone."""
    return None if hub is None else mapping_on(hub, row.id)


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_port_mapping", CreatePortMapping, create_port_mapping),
    action(
        "system_sdwan_list_port_mappings", NetworkReference, list_port_mappings, effect=Effect.READ
    ),
    action(
        "system_sdwan_delete_port_mapping",
        MappingReference,
        delete_port_mapping,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
)
