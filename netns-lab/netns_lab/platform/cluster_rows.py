"""Rows of k3s clusters turned into intent."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.cluster_tables import K3sCluster, K3sNode
from netns_lab.platform.pod_intent import K3sRole, PodNode


def clusters_on(session: Session, network_id: str) -> Sequence[K3sCluster]:
    """The clusters of a network, oldest first."""
    return session.scalars(
        select(K3sCluster)
        .where(K3sCluster.network_id == network_id)
        .order_by(K3sCluster.created_at, K3sCluster.id)
    ).all()


def nodes_of(session: Session, cluster_id: str) -> Sequence[K3sNode]:
    """The nodes of a cluster."""
    return session.scalars(
        select(K3sNode).where(K3sNode.cluster_id == cluster_id).order_by(K3sNode.peer_id)
    ).all()


def pod_nodes(session: Session, network_id: str) -> tuple[PodNode, ...]:
    """The nodes of all clusters of a network, in one query."""
    rows = session.scalars(
        select(K3sNode)
        .join(K3sCluster, K3sCluster.id == K3sNode.cluster_id)
        .where(K3sCluster.network_id == network_id)
        .order_by(K3sNode.peer_id)
    )
    return tuple(
        PodNode(row.peer_id, row.cluster_id, K3sRole(row.role), row.pod_subnet) for row in rows
    )
