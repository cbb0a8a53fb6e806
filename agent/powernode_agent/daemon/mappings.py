"""Health warnings of port mappings that work as told, and yet not as somebody expects.

A local service that listens on a port mapped before it gets no connection; and a mapping whose packets
the network's own filter drops at the hub serves nobody, although every part of it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from powernode_agent.firewall.verdict import leaving, rules_of
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.firewall import (
    FirewallAction,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
)
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


@dataclass(frozen=True, slots=True)
class _Finding:
    code: str
    mapping: PortMapping
    evidence: str
    cause: str
    fix: str


class MappingWarnings:
    """Remembers since when it is so, and looks again only when something changed: a status is asked for
    after each pass, and 10,000 rules take a while to read."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, PortMappingId], float] = {}
        self._found: tuple[_Finding, ...] = ()
        self._of: tuple[DesiredState | None, Mapping[PortMappingId, Listener]] = (None, {})

    def warnings(
        self,
        state: DesiredState | None,
        outvoted: Mapping[PortMappingId, Listener],
        now: float,
    ) -> Iterator[HealthWarning]:
        """Those of all mappings; `now` in seconds since the epoch."""
        if state is not self._of[0] or outvoted is not self._of[1]:
            self._of = (state, outvoted)
            networks = () if state is None else state.networks.values()
            self._found = tuple(each for entry in networks for each in _findings(entry, outvoted))
            before, self._since = self._since, {}
            for finding in self._found:
                key = (finding.code, finding.mapping.id)
                self._since[key] = before.get(key, now)
        for finding in self._found:
            yield HealthWarning(
                code=finding.code,
                severity=Severity.WARNING,
                subject_id=finding.mapping.id,
                network_id=finding.mapping.network_id,
                evidence=finding.evidence,
                cause=finding.cause,
                fix=finding.fix,
                since=self._since[finding.code, finding.mapping.id],
            )


def _findings(
    entry: NetworkState, outvoted: Mapping[PortMappingId, Listener]
) -> Iterator[_Finding]:
    if entry.port_mappings:
        egress = rules_of(entry, FirewallDirection.EGRESS)
        for mapping in entry.port_mappings.values():
            yield from _of_mapping(entry, mapping, outvoted.get(mapping.id), egress)


def _of_mapping(
    entry: NetworkState,
    mapping: PortMapping,
    listener: Listener | None,
    egress: Sequence[FirewallRule],
) -> Iterator[_Finding]:
    if listener is not None:
        yield _Finding(
            OUTVOTED,
            mapping,
            f"a service of this host listens on {listener}, which {mapping} maps:"
            " it gets no connection",
            "the port was mapped before the service came, and a mapping in force is not given up",
            f"see whose it is: {listener.command}; give it another port, or delete {mapping}",
        )
    target = mapping.internal_address
    if target in (entry.network.interface.address, entry.network.interface.overlay_ipv4):
        return
    verdict = leaving(entry, egress, target, _PROTOCOLS[mapping.protocol], mapping.internal_port)
    if verdict.action is not FirewallAction.ACCEPT:
        by = f"{verdict.rule}" if verdict.rule else f"the egress policy of {entry.network}"
        yield _Finding(
            CUT,
            mapping,
            f"what {mapping} sends to {mapping.internal} is stopped at this hub by {by}",
            f"{verdict.action.value} holds for what leaves by {entry.network.link}",
            f"allow egress to {target}, {mapping.protocol.value} port {mapping.internal_port},"
            " by a rule of a narrower selector or a lower priority number",
        )
