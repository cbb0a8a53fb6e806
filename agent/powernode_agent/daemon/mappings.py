"""Health warnings of port mappings that work as told, and yet not as somebody expects.

A local service that listens on a port mapped before it gets no connection; and a mapping whose packets
the network's own filter drops at the hub serves nobody, although every part of it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from powernode_agent.firewall.verdict import leaving
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.firewall import FirewallAction, FirewallProtocol
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.status import HealthWarning, Severity
from powernode_agent.portmap.clashes import Listener

OUTVOTED: Final = "PM-001"
"""Health code of a local service whose port is mapped."""
CUT: Final = "PM-002"
"""Health code of a mapping that the hub's own filter cuts."""

_PROTOCOLS: Final = {
    MappingProtocol.TCP: FirewallProtocol.TCP,
    MappingProtocol.UDP: FirewallProtocol.UDP,
}


class MappingWarnings:
    """Remembers since when it is so."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, PortMappingId], float] = {}

    def warnings(
        self,
        state: DesiredState | None,
        outvoted: Mapping[PortMappingId, Listener],
        now: float,
    ) -> Iterator[HealthWarning]:
        """Those of all mappings; `now` in seconds since the epoch."""
        before, self._since = self._since, {}
        for entry in () if state is None else state.networks.values():
            for mapping in entry.port_mappings.values():
                for code, evidence, cause, fix in _findings(entry, mapping, outvoted):
                    key = (code, mapping.id)
                    since = self._since[key] = before.get(key, now)
                    yield HealthWarning(
                        code=code,
                        severity=Severity.WARNING,
                        subject_id=mapping.id,
                        network_id=mapping.network_id,
                        evidence=evidence,
                        cause=cause,
                        fix=fix,
                        since=since,
                    )


def _findings(
    entry: NetworkState, mapping: PortMapping, outvoted: Mapping[PortMappingId, Listener]
) -> Iterator[tuple[str, str, str, str]]:
    """Code, evidence, cause and fix of each finding."""
    listener = outvoted.get(mapping.id)
    if listener is not None:
        yield (
            OUTVOTED,
            f"a service of this host listens on {listener}, which {mapping} maps:"
            " it gets no connection",
            "the port was mapped before the service came, and a mapping in force is not given up",
            f"see whose it is: {listener.command}; give it another port, or delete {mapping}",
        )
    target = mapping.internal_address
    if target in (entry.network.interface.address, entry.network.interface.overlay_ipv4):
        return
    verdict = leaving(entry, target, _PROTOCOLS[mapping.protocol], mapping.internal_port)
    if verdict.action is not FirewallAction.ACCEPT:
        by = f"{verdict.rule}" if verdict.rule else f"the egress policy of {entry.network}"
        yield (
            CUT,
            f"what {mapping} sends to {mapping.internal} is stopped at this hub by {by}",
            f"{verdict.action.value} holds for what leaves by {entry.network.link}",
            f"allow egress to {target}, {mapping.protocol.value} port {mapping.internal_port},"
            " by a rule of a narrower selector or a lower priority number",
        )
