"""Runbook, phase 1: overlay networks.

`system_sdwan_create_network`, `system_sdwan_list_networks`, `system_sdwan_get_network`,
`system_sdwan_delete_network`. Every rule is checked before the row is made; the prefix is allocated
from the account's pool when none is given.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import select

from netns_lab.platform import allocation, prefixes
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.intent import Topology
from netns_lab.platform.prefixes import Prefix
from netns_lab.platform.registry import Action, Arguments, action
from netns_lab.platform.tables import Account, Network
from netns_lab.platform.underlay import underlay

MAX_POD_LENGTH: Final = {4: 24, 6: 64}
"""By IP version: what each node gets of it (Kubernetes, node-cidr-mask-size-ipv4 and -ipv6)."""

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
    ipv4 = _overlay_ipv4(context, arguments.overlay_ipv4_prefix)
    pods = _pod_subnet(context, arguments.pod_subnet_prefix, prefix, ipv4)
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


def delete_network(context: Context, arguments: DeleteNetwork) -> Answer:
    """Deletes a network; with peers on it only with `force`."""
    network = context.network(arguments.network_id)
    if network.peers and not arguments.force:
        raise ActionError(
            "force", f"must be true: {len(network.peers)} peers are attached to {network.name}"
        )
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
        prefixes.refuse_overlap("prefix", prefix, chain(underlay(context), _everything(context)))
        return prefix
    account = context.session.get_one(Account, context.account_id)
    pool = IPv6Network(account.ula_pool)
    taken = [
        other
        for other, _ in chain(underlay(context), _everything(context))
        if isinstance(other, IPv6Network)
    ]
    allocated = allocation.next_network_prefix(pool, taken)
    if allocated is None:
        raise ActionError("prefix", f"must be given: the account's pool {pool} is used up")
    return allocated


def _overlay_ipv4(context: Context, text: str | None) -> IPv4Network | None:
    if text is None:
        return None
    field = "overlay_ipv4_prefix"
    prefix = prefixes.parse(field, text)
    if not isinstance(prefix, IPv4Network) or not 8 <= prefix.prefixlen <= 29:
        raise ActionError(field, f"must be an IPv4 prefix from /8 to /29, got {text!r}")
    prefixes.refuse_overlap(field, prefix, chain(underlay(context), _everything(context)))
    return prefix


def _pod_subnet(
    context: Context, text: str | None, own: IPv6Network, own_ipv4: IPv4Network | None
) -> Prefix | None:
    if text is None:
        return None
    field = "pod_subnet_prefix"
    prefix = prefixes.parse(field, text)
    mine: list[tuple[Prefix, str]] = [(own, f"the network's own prefix {own}")]
    if own_ipv4 is not None:
        mine.append((own_ipv4, f"the network's own overlay_ipv4_prefix {own_ipv4}"))
    prefixes.refuse_overlap(field, prefix, chain(mine, _everything(context)))
    longest = MAX_POD_LENGTH[prefix.version]
    if prefix.prefixlen > longest:
        raise ActionError(
            field,
            f"must be /{longest} or shorter: each node takes a /{longest} of it, got {text!r}",
        )
    return prefix


def _everything(context: Context) -> Iterator[tuple[Prefix, str]]:
    """All prefixes of the account that something new may collide with."""
    scope = (context.session, context.account_id)
    return chain(
        prefixes.overlays(*scope),
        prefixes.pod_subnets(*scope),
        prefixes.lan_subnets(*scope),
        prefixes.virtual_ips(*scope),
    )


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_network", CreateNetwork, create_network),
    action("system_sdwan_list_networks", NoArguments, list_networks),
    action("system_sdwan_get_network", NetworkReference, get_network),
    action("system_sdwan_delete_network", DeleteNetwork, delete_network),
)
