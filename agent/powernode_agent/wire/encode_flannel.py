"""What was measured of k3s and flannel, as a message of a report. Pure."""

from __future__ import annotations

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import FlannelReading, Result
from powernode_agent.wire.encode_filter import RESULTS


def encode_flannel(reading: FlannelReading) -> pb.FlannelStatus:
    """The one bootstrap of the node."""
    return pb.FlannelStatus(
        result=RESULTS[reading.result],
        message=reading.message if reading.result is Result.ERROR else "",
        restarted_at_ms=reading.restarted_at_ms,
        pod_subnet="" if reading.pod_subnet is None else str(reading.pod_subnet),
    )
