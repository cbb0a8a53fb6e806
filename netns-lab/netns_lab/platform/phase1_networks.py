"""Runbook, phase 1: overlay networks.

`system_sdwan_create_network`, `system_sdwan_list_networks`, `system_sdwan_get_network`,
`system_sdwan_update_network`, `system_sdwan_delete_network`. Every rule is checked before the row is
made; the prefix is allocated from the account's pool when none is given.
"""

from __future__ import annotations

import secrets
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import select

from netns_lab.platform import allocation, prefixes
from netns_lab.platform.cluster_rows import clusters_on
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.device_rows import active_devices
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_rules import leave
from netns_lab.platform.intent import Topology
from netns_lab.platform.peer_rules import host_ipv4
from netns_lab.platform.pod_rules import everything, overlay_ipv4, overlay_ipv4_for, pod_subnet
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Account, Network
from netns_lab.platform.underlay import underlay

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[ -~]+$")]
"""Printable ASCII: names end up in logs, tables and link aliases."""


class CreateNetwork(Arguments):
    """`overlay_ipv4_prefix` and `topology` go beyond the runbook; both may be left out."""

    name: Name
    description: Annotated[str, Field(max_length=1000)] = ""
    prefix: str | None = None
    routing_mode: Literal["static", "ibgp"] = "static"
    pod_subnet_prefix: str | None = None
    overlay_ipv4_prefix: str | None = None
    topology: Literal["hub_spoke", "full_mesh"] = "hub_spoke"


class NetworkReference(Arguments):
    """A network by id."""

    network_id: str


class DeleteNetwork(NetworkReference):
    """`force` takes the network from under its peers."""

    force: bool = False


class UpdateNetwork(NetworkReference):
    """Beyond the runbook, which only says that the field may be set later. What is left out stays."""

    pod_subnet_prefix: str | None = None
    overlay_ipv4_prefix: str | None = None
    description: Annotated[str, Field(max_length=1000)] | None = None


class NoArguments(Arguments):
    """Takes nothing."""


def create_network(context: Context, arguments: CreateNetwork) -> Answer:
    """Creates an overlay network."""
    taken = context.session.scalars(
        select(Network).where(Network.account_id == context.account_id)
    ).all()
    if any(network.name == arguments.name for network in taken):
        raise ActionError("name", f"must be unique in the account; {arguments.name!r} exists")
    prefix = _overlay_prefix(context, arguments.prefix)
    wanted_ipv4, wanted_pods = arguments.overlay_ipv4_prefix, arguments.pod_subnet_prefix
    ipv4 = overlay_ipv4(context, wanted_ipv4) if wanted_ipv4 is not None else None
    pods = pod_subnet(context, wanted_pods, prefix, ipv4) if wanted_pods is not None else None
    ipv4 = ipv4 or overlay_ipv4_for(context, pods)
    handle = allocation.handle_for(arguments.name, (network.handle for network in taken))
    if handle is None:
        raise ActionError("name", "must leave a free handle of 6 characters; there is none")
    network = Network(
        id=f"net-{secrets.token_hex(6)}",
        account_id=context.account_id,
        name=arguments.name,
        description=arguments.description,
        handle=handle,
        prefix=str(prefix),
        overlay_ipv4_prefix=str(ipv4 or ""),
        pod_subnet_prefix=str(pods or ""),
        routing_mode=arguments.routing_mode,
        topology=Topology(arguments.topology).value,
        current_hub_id="",
        created_at=context.now,
    )
    context.session.add(network)
    context.session.flush()
    context.touch(network.id)
    context.event(
        "network.created", network_id=network.id, name=network.name, prefix=network.prefix
    )
    return {"network": describe(network)}


def list_networks(context: Context, arguments: NoArguments) -> Answer:
    """Lists the account's networks."""
    networks = context.session.scalars(
        select(Network).where(Network.account_id == context.account_id).order_by(Network.created_at)
    )
    return {"networks": [describe(network) for network in networks]}


def get_network(context: Context, arguments: NetworkReference) -> Answer:
    """Shows one network."""
    return {"network": describe(context.network(arguments.network_id))}


def update_network(context: Context, arguments: UpdateNetwork) -> Answer:
    """Changes a network: its description, its pods' prefix, and the IPv4 overlay that they need."""
    network = context.network(arguments.network_id)
    given = arguments.model_fields_set - {"network_id"}
    if not given:
        raise ActionError(
            "arguments",
            "must name what to change: pod_subnet_prefix, overlay_ipv4_prefix, description",
        )
    if "overlay_ipv4_prefix" in given:
        _set_overlay_ipv4(context, network, arguments.overlay_ipv4_prefix)
    if "pod_subnet_prefix" in given:
        _set_pod_subnet(context, network, arguments.pod_subnet_prefix)
    if arguments.description is not None:
        network.description = arguments.description
    context.session.flush()
    context.touch(network.id)
    context.event("network.updated", network_id=network.id, changed=sorted(given))
    return {"network": describe(network)}


def _set_overlay_ipv4(context: Context, network: Network, wanted: str | None) -> None:
    field = "overlay_ipv4_prefix"
    if (wanted or "") == network.overlay_ipv4_prefix:
        return
    if network.overlay_ipv4_prefix or wanted is None:
        raise ActionError(
            field, f"must stay {network.overlay_ipv4_prefix}: peers have addresses in it"
        )
    prefix = overlay_ipv4(context, wanted)
    _give_ipv4(context, network, prefix)


def _set_pod_subnet(context: Context, network: Network, wanted: str | None) -> None:
    """The first time, also under clusters that are there already; never another one under them."""
    field, known = "pod_subnet_prefix", network.pod_subnet_prefix
    if (wanted or "") == known:
        return
    clusters = clusters_on(context.session, network.id)
    if known and clusters:
        raise ActionError(
            field,
            f"must stay {known} while a cluster references the network (k3s keeps its pods' prefix"
            f" for good); {clusters[0].name} does, got {wanted!r}",
        )
    network.pod_subnet_prefix = ""
    context.session.flush()
    if wanted is None:
        return
    own_ipv4 = IPv4Network(network.overlay_ipv4_prefix) if network.overlay_ipv4_prefix else None
    pods = pod_subnet(context, wanted, IPv6Network(network.prefix), own_ipv4)
    if own_ipv4 is None and (allocated := overlay_ipv4_for(context, pods)) is not None:
        _give_ipv4(context, network, allocated)
    network.pod_subnet_prefix = str(pods)


def _give_ipv4(context: Context, network: Network, prefix: IPv4Network) -> None:
    """Makes it the network's IPv4 overlay, with an address for each peer."""
    network.overlay_ipv4_prefix = str(prefix)
    context.session.flush()
    for peer in network.peers:
        peer.host_ipv4 = host_ipv4(context, network)
        context.session.flush()
        context.touch(network.id, peer.id)


def delete_network(context: Context, arguments: DeleteNetwork) -> Answer:
    """Deletes a network; with peers or user devices on it only with `force`."""
    network = context.network(arguments.network_id)
    if network.peers and not arguments.force:
        raise ActionError(
            "force", f"must be true: {len(network.peers)} peers are attached to {network.name}"
        )
    if (devices := active_devices(context.session, network.id)) and not arguments.force:
        raise ActionError(
            "force", f"must be true: {devices} user devices are active on {network.name}"
        )
    if (clusters := clusters_on(context.session, network.id)) and not arguments.force:
        raise ActionError("force", f"must be true: pods of k3s cluster {clusters[0].name} use it")
    leave(context, network, arguments.force)
    context.session.delete(network)
    context.touch(network.id)
    context.event("network.deleted", network_id=network.id, name=network.name)
    return {"network": {**describe(network), "status": "deleted"}}


def describe(network: Network) -> dict[str, object]:
    """A network as actions answer it."""
    return {
        "id": network.id,
        "name": network.name,
        "description": network.description,
        "handle": network.handle,
        "link": f"wg-sdwan-{network.handle}",
        "prefix": network.prefix,
        "overlay_ipv4_prefix": network.overlay_ipv4_prefix or None,
        "pod_subnet_prefix": network.pod_subnet_prefix or None,
        "routing_mode": network.routing_mode,
        "topology": network.topology,
        "status": "active",
        "peers": len(network.peers),
        "current_hub_peer_id": network.current_hub_id or None,
    }


def _overlay_prefix(context: Context, text: str | None) -> IPv6Network:
    if text is not None:
        prefix = prefixes.parse_overlay("prefix", text)
        prefixes.refuse_overlap("prefix", prefix, chain(underlay(context), everything(context)))
        return prefix
    account = context.session.get_one(Account, context.account_id)
    pool = IPv6Network(account.ula_pool)
    taken = [
        other
        for other, _ in chain(underlay(context), everything(context))
        if isinstance(other, IPv6Network)
    ]
    allocated = allocation.next_network_prefix(pool, taken)
    if allocated is None:
        raise ActionError("prefix", f"must be given: the account's pool {pool} is used up")
    return allocated


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_network", CreateNetwork, create_network),
    action("system_sdwan_list_networks", NoArguments, list_networks, effect=Effect.READ),
    action("system_sdwan_get_network", NetworkReference, get_network, effect=Effect.READ),
    action("system_sdwan_update_network", UpdateNetwork, update_network, idempotent=True),
    action(
        "system_sdwan_delete_network",
        DeleteNetwork,
        delete_network,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
)
