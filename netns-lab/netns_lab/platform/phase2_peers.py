"""Runbook, phase 2: NodeInstances as peers of a network.

`system_sdwan_attach_peer`, `system_sdwan_list_peers`, `system_sdwan_update_peer`,
`system_sdwan_detach_peer`. What the operator leaves out (endpoint, reachability) is detected from the
node's reports; what he says always wins. What may be said is checked in `peer_rules`, what is answered
is put together in `peer_answers`.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import func, select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.firewall_tags import drop_unneeded, tags_of
from netns_lab.platform.intent import KeySource, Standing
from netns_lab.platform.lan_rules import Lan, lan_subnets
from netns_lab.platform.peer_answers import answer_all, answer_new, answer_one, describe
from netns_lab.platform.peer_rules import (
    check_endpoint,
    first_key,
    host_address,
    host_ipv4,
    listen_port,
)
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.phase3_failover import leave_virtual_ips
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.routing_rows import number_router
from netns_lab.platform.tables import Peer


class AttachPeer(Arguments):
    """`key_source` and `lan_subnets` go beyond the runbook; both may be left out."""

    network_id: str
    node_instance_id: str
    publicly_reachable: bool | None = None
    endpoint_address: str | None = None
    key_source: Literal["platform", "node"] = "platform"
    lan_subnets: Annotated[list[str | Lan], Field(max_length=256, default_factory=list)]


class UpdatePeer(Arguments):
    """Beyond the runbook. What is left out stays as it is; `lan_subnets` are replaced as a whole."""

    peer_id: str
    publicly_reachable: bool | None = None
    endpoint_address: str | None = None
    lan_subnets: Annotated[list[str | Lan], Field(max_length=256)] | None = None


CHANGEABLE: Final = ("publicly_reachable", "endpoint_address", "lan_subnets")


class PeerReference(Arguments):
    """A peer by id."""

    peer_id: str


def attach_peer(context: Context, arguments: AttachPeer) -> Answer:
    """Attaches a NodeInstance to a network as a peer."""
    network = context.network(arguments.network_id)
    node = context.node(arguments.node_instance_id)
    on_network = Peer.network_id == network.id
    session = context.session
    if session.scalars(select(Peer.id).where(on_network, Peer.node_id == node.id)).first():
        raise ActionError(
            "node_instance_id", f"must not be on the network already; {node.name} is on it"
        )
    peer_id = f"peer-{secrets.token_hex(6)}"
    peer = Peer(
        id=peer_id,
        network_id=network.id,
        node_id=node.id,
        ordinal=(session.scalar(select(func.max(Peer.ordinal)).where(on_network)) or 0) + 1,
        host_address=host_address(context, network),
        host_ipv4=host_ipv4(context, network),
        listen_port=listen_port(context, node, arguments.endpoint_address),
        key_source=KeySource(arguments.key_source).value,
        wanted_public=arguments.publicly_reachable,
        wanted_endpoint=arguments.endpoint_address or "",
        detected_public=None,
        detected_endpoint="",
        detected_at=context.now,
        standing=Standing.UNTRIED.value,
        standing_because="",
        witnesses="",
        active_generation=1,
        next_generation=0,
        node_generation=1,
        created_at=context.now,
        keys=[first_key(context, arguments.key_source)],
        lan_subnets=lan_subnets(context, arguments.lan_subnets),
    )
    session.add(peer)
    number_router(context, node)
    session.flush()
    context.touch(network.id, peer_id)
    context.event("peer.attached", network_id=network.id, peer_id=peer_id, node=node.name)
    return {"peer": answer_new(context, peer)}


def list_peers(context: Context, arguments: NetworkReference) -> Answer:
    """Lists the peers of a network with their status, its evidence, and what is wrong."""
    return {"peers": answer_all(context, context.network(arguments.network_id))}


def update_peer(context: Context, arguments: UpdatePeer) -> Answer:
    """Changes what the operator says of a peer; null hands it back to detection."""
    peer = context.peer(arguments.peer_id)
    given = arguments.model_fields_set - {"peer_id"}
    if not given:
        raise ActionError("arguments", f"must name what to change: {', '.join(CHANGEABLE)}")
    if "publicly_reachable" in given:
        peer.wanted_public = arguments.publicly_reachable
    if "endpoint_address" in given:
        check_endpoint(context, arguments.endpoint_address)
        # The port it listens on stays: a change of it would cut every session it has.
        peer.wanted_endpoint = arguments.endpoint_address or ""
    if arguments.lan_subnets is not None:
        peer.lan_subnets = lan_subnets(context, arguments.lan_subnets, peer.id)
    context.session.flush()
    context.touch(peer.network_id, peer.id)
    context.event(
        "peer.updated", network_id=peer.network_id, peer_id=peer.id, changed=sorted(given)
    )
    return {"peer": answer_one(context, peer)}


def detach_peer(context: Context, arguments: PeerReference) -> Answer:
    """Takes a peer off its network; the other nodes forget it at once."""
    peer = context.peer(arguments.peer_id)
    described = describe(peer)
    tags = [tag.id for tag in tags_of(context, peer)]
    network = peer.network
    if network.current_hub_id == peer.id:
        network.current_hub_id = ""
    leave_virtual_ips(context, peer)
    context.session.delete(peer)
    context.session.flush()
    context.touch(network.id, arguments.peer_id)
    drop_unneeded(context, tags)
    context.event("peer.detached", network_id=network.id, peer_id=arguments.peer_id)
    return {"peer": {**described, "status": "detached"}}


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_attach_peer", AttachPeer, attach_peer),
    action("system_sdwan_list_peers", NetworkReference, list_peers, effect=Effect.READ),
    action("system_sdwan_update_peer", UpdatePeer, update_peer, idempotent=True),
    action(
        "system_sdwan_detach_peer",
        PeerReference,
        detach_peer,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
)
