"""All that is not as it should be on a node at this moment, causes before symptoms. Pure."""

from __future__ import annotations

from powernode_agent.health.condition import Condition
from powernode_agent.health.node import node_conditions, work_conditions
from powernode_agent.health.peers import peer_conditions
from powernode_agent.health.routing import routing_conditions
from powernode_agent.model.status import NodeStatus


def conditions_of(status: NodeStatus, now: float) -> list[Condition]:
    """The node, then the work of its rooms, links and mappings, then peers, then routing. `now` in
    seconds since the epoch. What only desired state knows (hidden rules) comes from elsewhere."""
    return [
        *node_conditions(status, now),
        *work_conditions(status, now),
        *peer_conditions(status, now),
        *routing_conditions(status),
    ]
