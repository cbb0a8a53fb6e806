"""Prefixes of pods among what leaves by our link. Pure.

flannel makes a route of its own to each other node's pods, takes away any other for the same prefix,
and looks again every ten seconds. So the agent has none to a single node's pods: it routes the prefix
of all pods as one, which flannel never does, and WireGuard knows which peer each part belongs to. Nodes
without k3s reach pods by it, hubs carry them by it, and a packet to pods that nobody has ends at
WireGuard instead of leaving for the internet.
"""

from __future__ import annotations

from powernode_agent.model.network import Network
from powernode_agent.model.values import Prefix
from powernode_agent.paths.permits import Underlay, covers


def routed_as(prefix: Prefix, network: Network, underlay: Underlay) -> Prefix:
    """What is routed so that `prefix` leaves by our link: the prefix of all pods for a part of it,
    unless an address of the underlay is inside; everything else as it is."""
    pods = network.pod_subnet_prefix
    if pods is None or not covers(pods, prefix) or underlay.inside(pods) is not None:
        return prefix
    return pods
