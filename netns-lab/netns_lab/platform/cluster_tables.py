"""The tables of k3s clusters: which network carries their pods, and which peers are their nodes."""

from __future__ import annotations

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from netns_lab.platform.tables import Table


class K3sCluster(Table):
    """A k3s cluster that was bootstrapped on a network."""

    __tablename__ = "k3s_clusters"
    __table_args__ = (UniqueConstraint("network_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    cni_plugin: Mapped[str]
    created_at: Mapped[float]


class K3sNode(Table):
    """A peer that is a node of a cluster; a detached one is none. `pod_subnet` is what it reported last
    and what the network took, empty: nothing yet; `pod_subnet_at` when."""

    __tablename__ = "k3s_nodes"
    peer_id: Mapped[str] = mapped_column(
        ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True
    )
    cluster_id: Mapped[str] = mapped_column(
        ForeignKey("k3s_clusters.id", ondelete="CASCADE"), index=True
    )
    role: Mapped[str]
    pod_subnet: Mapped[str] = mapped_column(default="")
    pod_subnet_at: Mapped[float] = mapped_column(default=0.0)
