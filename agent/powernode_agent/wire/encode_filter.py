"""What was measured of firewalls, port mappings and health, as messages of a report. Pure."""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import (
    FirewallStatus,
    HealthWarning,
    PortMappingStatus,
    Result,
    Severity,
)

RESULTS: Final = {
    Result.OK: pb.RESULT_OK,
    Result.ERROR: pb.RESULT_ERROR,
    Result.NOT_MEASURED: pb.RESULT_UNSPECIFIED,
}
_SEVERITIES: Final = {
    Severity.INFO: pb.SEVERITY_INFO,
    Severity.WARNING: pb.SEVERITY_WARNING,
    Severity.CRITICAL: pb.SEVERITY_CRITICAL,
}


def encode_firewall(firewall: FirewallStatus) -> pb.FirewallStatus:
    """The firewall of one network."""
    return pb.FirewallStatus(
        network_id=firewall.network_id,
        rules=firewall.rules,
        dropped_packets=firewall.dropped_packets,
    )


def encode_port_mapping(mapping: PortMappingStatus) -> pb.PortMappingStatus:
    """One port mapping; the contract has a message for errors only."""
    return pb.PortMappingStatus(
        port_mapping_id=mapping.id,
        result=RESULTS[mapping.result],
        message=mapping.message if mapping.result is Result.ERROR else "",
        connections=mapping.connections,
    )


def encode_warning(warning: HealthWarning) -> pb.HealthWarning:
    """One health warning."""
    return pb.HealthWarning(
        code=warning.code,
        severity=_SEVERITIES[warning.severity],
        subject_id=warning.subject_id,
        evidence=warning.evidence,
        cause=warning.cause,
        fix=warning.fix,
        since_ms=round(warning.since * 1000),
        network_id=warning.network_id or "",
    )


def firewall_state(firewall: FirewallStatus) -> tuple[object, ...]:
    """What cannot wait; dropped packets are a counter and can."""
    return (firewall.rules,)


def port_mapping_state(mapping: PortMappingStatus) -> tuple[object, ...]:
    """What cannot wait; connections are a counter and can."""
    return (mapping.result, mapping.message)


def warning_states(warnings: tuple[HealthWarning, ...]) -> list[tuple[object, ...]]:
    """What cannot wait: that one came or went. Evidence carries an age and changes all the time."""
    return sorted((each.code, each.severity.value, each.subject_id) for each in warnings)
