"""What was measured of BGP sessions and virtual IPs, as messages of a report. Pure."""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import BgpSession, BgpState, HolderState, VirtualIpReading

_BGP_STATES: Final = {
    BgpState.NOT_MEASURED: pb.BGP_STATE_UNSPECIFIED,
    BgpState.IDLE: pb.BGP_STATE_IDLE,
    BgpState.CONNECT: pb.BGP_STATE_CONNECT,
    BgpState.ACTIVE: pb.BGP_STATE_ACTIVE,
    BgpState.OPEN_SENT: pb.BGP_STATE_OPEN_SENT,
    BgpState.OPEN_CONFIRM: pb.BGP_STATE_OPEN_CONFIRM,
    BgpState.ESTABLISHED: pb.BGP_STATE_ESTABLISHED,
}
_HOLDER_STATES: Final = {
    HolderState.NOT_MEASURED: pb.HOLDER_STATE_UNSPECIFIED,
    HolderState.HOLDING: pb.HOLDER_STATE_HOLDING,
    HolderState.STANDBY: pb.HOLDER_STATE_STANDBY,
    HolderState.ABSENT: pb.HOLDER_STATE_ABSENT,
}


def encode_bgp_session(session: BgpSession) -> pb.BgpSessionStatus:
    """One iBGP session."""
    return pb.BgpSessionStatus(
        network_id=session.network_id,
        neighbor_peer_id=session.neighbor_peer_id,
        state=_BGP_STATES[session.state],
        uptime_ms=session.uptime_ms,
        prefixes_received=session.prefixes_received,
        prefixes_sent=session.prefixes_sent,
        last_reset_reason=session.last_reset_reason,
        likely_cause=session.likely_cause,
    )


def encode_virtual_ip(reading: VirtualIpReading) -> pb.VirtualIpStatus:
    """One virtual IP; the platform knows its network and address by its id."""
    return pb.VirtualIpStatus(
        virtual_ip_id=reading.virtual_ip_id,
        state=_HOLDER_STATES[reading.state],
        since_ms=reading.since_ms,
        announced=reading.announced,
    )


def bgp_session_state(session: BgpSession) -> tuple[object, ...]:
    """What cannot wait; uptime and prefixes are counters, a cause may carry an age, and can."""
    return (session.state, session.last_reset_reason)


def virtual_ip_state(reading: VirtualIpReading) -> tuple[object, ...]:
    """What cannot wait."""
    return (reading.state, reading.announced)
