"""Runbook, phase 1, pod_subnet_prefix: the k3s clusters whose pods go over a network.

`system_create_k3s_cluster`, `system_list_k3s_clusters`, `system_get_k3s_cluster`,
`system_add_k3s_node`, `system_remove_k3s_node`, `system_delete_k3s_cluster`. The runbook speaks of
clusters that are bootstrapped on a network and names no action for it; these are ours. A cluster may be
made before its network has a pod_subnet_prefix: its nodes are told when it is set. A node is in one
cluster, because a host has one k3s.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import select

from netns_lab.platform.cluster_rows import clusters_on, nodes_of
from netns_lab.platform.cluster_tables import K3sCluster, K3sNode
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.phase1_networks import Name, NetworkReference
from netns_lab.platform.pod_intent import K3sRole
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Network, Peer
from powernode.sdwan.v1 import status_pb2

MAX_NODES: Final = 1000

Peers = Annotated[list[str], Field(max_length=MAX_NODES)]


class CreateCluster(Arguments):
    """Servers and agents are peers of the network. k3s needs a server."""

    network_id: str
    name: Name
    cni_plugin: Literal["flannel"] = "flannel"
    server_peer_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_NODES)]
    agent_peer_ids: Annotated[Peers, Field(default_factory=list)]


class ClusterReference(Arguments):
    """A cluster by id."""

    cluster_id: str


class AddNode(ClusterReference):
    """A peer that becomes a node of the cluster."""

    peer_id: str
    role: Literal["server", "agent"]


class RemoveNode(ClusterReference):
    """A node by its peer."""

    peer_id: str


def create_cluster(context: Context, arguments: CreateCluster) -> Answer:
    """Bootstraps a k3s cluster whose pods go over a network; its nodes are told before k3s starts."""
    network = context.network(arguments.network_id)
    if any(each.name == arguments.name for each in clusters_on(context.session, network.id)):
        raise ActionError("name", f"must be unique on the network; {arguments.name!r} exists")
    cluster = K3sCluster(
        id=f"k3s-{secrets.token_hex(6)}",
        network_id=network.id,
        name=arguments.name,
        cni_plugin=arguments.cni_plugin,
        created_at=context.now,
    )
    context.session.add(cluster)
    context.session.flush()
    for role, field, peer_ids in (
        (K3sRole.SERVER, "server_peer_ids", arguments.server_peer_ids),
        (K3sRole.AGENT, "agent_peer_ids", arguments.agent_peer_ids),
    ):
        for index, peer_id in enumerate(peer_ids):
            _add(context, network, cluster, f"{field}.{index}", peer_id, role)
    context.touch(network.id)
    context.event(
        "k3s_cluster.created", network_id=network.id, cluster_id=cluster.id, name=cluster.name
    )
    return {"cluster": _describe(context, network, cluster)}


def list_clusters(context: Context, arguments: NetworkReference) -> Answer:
    """Lists the k3s clusters of a network."""
    network = context.network(arguments.network_id)
    clusters = clusters_on(context.session, network.id)
    return {"clusters": [_describe(context, network, each) for each in clusters]}


def get_cluster(context: Context, arguments: ClusterReference) -> Answer:
    """Shows a k3s cluster: which nodes have their configuration, and which pods they have."""
    network, cluster = _cluster(context, arguments.cluster_id)
    return {"cluster": _describe(context, network, cluster)}


def add_node(context: Context, arguments: AddNode) -> Answer:
    """Makes a peer a node of a k3s cluster."""
    network, cluster = _cluster(context, arguments.cluster_id)
    role = K3sRole(arguments.role)
    _add(context, network, cluster, "peer_id", arguments.peer_id, role)
    context.touch(network.id)
    context.event("k3s_cluster.node_added", cluster_id=cluster.id, peer_id=arguments.peer_id)
    return {"cluster": _describe(context, network, cluster)}


def remove_node(context: Context, arguments: RemoveNode) -> Answer:
    """Takes a node out of its k3s cluster; its pods are reached no more."""
    network, cluster = _cluster(context, arguments.cluster_id)
    row = context.session.get(K3sNode, arguments.peer_id)
    if row is None or row.cluster_id != cluster.id:
        raise ActionError("peer_id", f"must be a node of {cluster.name}, got {arguments.peer_id!r}")
    nodes = nodes_of(context.session, cluster.id)
    servers = [each for each in nodes if each.role == K3sRole.SERVER.value]
    if servers == [row]:
        raise ActionError(
            "peer_id", f"must not be the last server of {cluster.name}; delete the cluster instead"
        )
    context.session.delete(row)
    context.session.flush()
    context.touch(network.id)
    context.event("k3s_cluster.node_removed", cluster_id=cluster.id, peer_id=arguments.peer_id)
    return {"cluster": _describe(context, network, cluster)}


def delete_cluster(context: Context, arguments: ClusterReference) -> Answer:
    """Deletes a k3s cluster: its pods are routed no more, and its network may get another prefix."""
    network, cluster = _cluster(context, arguments.cluster_id)
    described = _describe(context, network, cluster)
    context.session.delete(cluster)
    context.session.flush()
    context.touch(network.id)
    context.event("k3s_cluster.deleted", network_id=network.id, cluster_id=cluster.id)
    return {"cluster": {**described, "status": "deleted"}}


def _cluster(context: Context, cluster_id: str) -> tuple[Network, K3sCluster]:
    cluster = context.session.get(K3sCluster, cluster_id)
    network = None if cluster is None else context.session.get(Network, cluster.network_id)
    if cluster is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "cluster_id", f"must be a k3s cluster of the account; there is no {cluster_id!r}"
        )
    return network, cluster


def _add(
    context: Context,
    network: Network,
    cluster: K3sCluster,
    field: str,
    peer_id: str,
    role: K3sRole,
) -> None:
    peer = context.peer(peer_id, field)
    if peer.network_id != network.id:
        raise ActionError(
            field,
            f"must be a peer of network {network.name}; {peer.node.name} ({peer.id}) is on network"
            f" {peer.network.name}",
        )
    other = context.session.execute(
        select(K3sCluster.name)
        .join(K3sNode, K3sNode.cluster_id == K3sCluster.id)
        .join(Peer, Peer.id == K3sNode.peer_id)
        .where(Peer.node_id == peer.node_id)
    ).scalar()
    if other is not None:
        raise ActionError(
            field, f"must be in no k3s cluster yet; {peer.node.name} ({peer.id}) is in {other}"
        )
    context.session.add(K3sNode(peer_id=peer.id, cluster_id=cluster.id, role=role.value))
    context.session.flush()


def _describe(context: Context, network: Network, cluster: K3sCluster) -> dict[str, object]:
    """`status` is "ready" when each node says that its k3s finds its configuration, "inactive" while
    the network has no prefix for pods, else "pending"."""
    nodes = [_node(context, row) for row in nodes_of(context.session, cluster.id)]
    status = "pending"
    if not network.pod_subnet_prefix:
        status = "inactive"
    elif nodes and all(node["configured"] for node in nodes):
        status = "ready"
    return {
        "id": cluster.id,
        "name": cluster.name,
        "network_id": network.id,
        "cni_plugin": cluster.cni_plugin,
        "cluster_cidr": network.pod_subnet_prefix or None,
        "status": status,
        "nodes": nodes,
    }


def _node(context: Context, row: K3sNode) -> dict[str, object]:
    peer = context.session.get_one(Peer, row.peer_id)
    seen = context.services.observation(peer.node_id)
    report = seen.report
    said = report.flannel if report is not None and report.HasField("flannel") else None
    refused = context.services.pods_refused(peer.node_id)
    return {
        "peer_id": peer.id,
        "name": peer.node.name,
        "role": row.role,
        "configured": None if said is None else said.result == status_pb2.RESULT_OK,
        "k3s_restarted_at": (
            iso(said.restarted_at_ms)
            if said is not None and said.HasField("restarted_at_ms")
            else None
        ),
        "pod_subnet": row.pod_subnet or None,
        "problem": (said.message if said is not None else "") or refused or None,
        "reporting": seen.online,
    }


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_create_k3s_cluster", CreateCluster, create_cluster),
    action("system_list_k3s_clusters", NetworkReference, list_clusters, effect=Effect.READ),
    action("system_get_k3s_cluster", ClusterReference, get_cluster, effect=Effect.READ),
    action("system_add_k3s_node", AddNode, add_node),
    action("system_remove_k3s_node", RemoveNode, remove_node, effect=Effect.DESTRUCTIVE),
    action(
        "system_delete_k3s_cluster", ClusterReference, delete_cluster, effect=Effect.DESTRUCTIVE
    ),
)
