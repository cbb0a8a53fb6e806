"""What k3s is told and what flannel says, as JSON: null without a bootstrap. Pure."""

from __future__ import annotations

from powernode_agent.control.protocol import JSON
from powernode_agent.model.status import NodeStatus


def flannel_document(status: NodeStatus, now: float) -> JSON:
    """The one bootstrap of the node."""
    reading = status.flannel
    if reading is None:
        return None
    at = None if reading.restarted_at_ms is None else reading.restarted_at_ms / 1000
    return {
        "network_id": reading.network_id,
        "result": reading.result.value,
        "message": reading.message or None,
        "k3s_restarted_at": at,
        "k3s_restarted_age_s": None if at is None else max(0.0, now - at),
        "pod_subnet": None if reading.pod_subnet is None else str(reading.pod_subnet),
        "other_network": None if reading.other_network is None else str(reading.other_network),
    }
