"""What the compiler has to know of k3s on a network, as plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class K3sRole(Enum):
    """What a node is to its cluster; k3s's own words."""

    SERVER = "server"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class PodNode:
    """A peer that is a node of a k3s cluster. `subnet` is that of its pods, as it reported; empty: it
    has not."""

    peer_id: str
    cluster_id: str
    role: K3sRole
    subnet: str
