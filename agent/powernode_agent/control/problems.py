"""What is wrong with a node, drawn from its status: each finding with its evidence, its age, and the
next command to type. Pure; a state word is worst-first, and "ok" is said only of what was measured.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from powernode_agent.control.problem import Problem
from powernode_agent.control.routing_documents import is_degraded, is_unknown, routing_problems
from powernode_agent.control.wording import age_text
from powernode_agent.model.status import (
    Liveness,
    NetworkStatus,
    NodeStatus,
    PeerState,
    PeerStatus,
    PortMappingStatus,
    Result,
    Severity,
    SubsystemOutcome,
)
from powernode_agent.model.values import NetworkId, PeerId

OK: Final = "ok"
DEGRADED: Final = "degraded"
NOT_MEASURED: Final = "not_measured"

LOGS: Final = "journalctl -u powernode-agent -n 50"


def find_problems(status: NodeStatus, now: float) -> list[Problem]:
    """All findings, causes before symptoms: the node, then outcomes, links, mappings, peers."""
    found = _node_problems(status, now)
    found += [
        _outcome_problem(status, outcome, now)
        for outcome in status.outcomes
        if outcome.result is Result.ERROR
    ]
    for network in sorted(status.networks.values(), key=lambda network: network.name):
        if network.up is False:
            found.append(
                Problem(
                    network.name,
                    network.network_id,
                    f"{network.name}: link {network.link} is down",
                    f"ip -d link show {network.link}",
                )
            )
    found += [
        _mapping_problem(status, mapping)
        for mapping in sorted(status.port_mappings.values(), key=lambda each: each.id)
        if mapping.result is Result.ERROR
    ]
    ports = {network.network_id: network.listen_port for network in status.networks.values()}
    by_network: dict[NetworkId, list[PeerStatus]] = defaultdict(list)
    for peer in status.peers.values():
        by_network[peer.network_id].append(peer)
    # Only what is said here mutes: a peer that was not measured is no explanation of anything.
    ill: set[tuple[NetworkId, PeerId]] = set()
    for network_id, peers in by_network.items():
        for peer in sorted(peers, key=lambda peer: peer.name):
            problem = _peer_problem(peer, ports.get(network_id), now)
            if problem is not None:
                found.append(problem)
                ill.add((network_id, peer.peer_id))
    return found + routing_problems(status, ill)


def network_state(status: NodeStatus, network: NetworkStatus) -> str:
    """ok, degraded or not_measured, from the network's link, peers, firewall and outcomes."""
    own = [peer for peer in status.peers.values() if peer.network_id == network.network_id]
    results = [
        outcome.result for outcome in status.outcomes if outcome.network_id == network.network_id
    ]
    results += [
        mapping.result
        for mapping in status.port_mappings.values()
        if mapping.network_id == network.network_id
    ]
    firewall = status.firewalls.get(network.network_id)
    if (
        network.up is False
        or Result.ERROR in results
        or is_degraded(status, network)
        or any(peer.state is not None and not _is_well(peer) for peer in own)
    ):
        return DEGRADED
    unknown = (
        network.up is None
        or (firewall is not None and firewall.rules is None)
        or Result.NOT_MEASURED in results
        or is_unknown(status, network)
        or any(peer.state is None for peer in own)
    )
    return NOT_MEASURED if unknown else OK


def overall_state(status: NodeStatus, problems: list[Problem]) -> str:
    """Worst first: any problem or traffic that is cut, else anything unmeasured, else ok."""
    if problems or any(each.severity is Severity.CRITICAL for each in status.warnings):
        return DEGRADED
    states = {network_state(status, network) for network in status.networks.values()}
    results = {outcome.result for outcome in status.outcomes}
    if DEGRADED in states:
        return DEGRADED
    return NOT_MEASURED if NOT_MEASURED in states or Result.NOT_MEASURED in results else OK


def _is_well(peer: PeerStatus) -> bool:
    dead = peer.liveness is not None and peer.liveness.state is Liveness.DEAD
    return peer.state is PeerState.CONNECTED and not dead


def _node_problems(status: NodeStatus, now: float) -> list[Problem]:
    found: list[Problem] = []
    if not status.platform.startswith(("connected", "file ")):
        # Errors of the link that a token would mend say so in their action.
        unknown = "powernode-agent enrol" in status.platform
        found.append(
            Problem(
                "platform",
                None,
                f"platform {status.platform}",
                "powernode-agent enrol --token-file FILE" if unknown else LOGS,
            )
        )
    rejected = status.rejected
    if rejected is not None:
        first = str(rejected.reasons[0]) if rejected.reasons else "no reason given"
        more = len(rejected.reasons) - 1
        # What could not even be read has no revision.
        what = f"revision {rejected.revision}" if rejected.revision else "desired state"
        text = f"{what} rejected {age_text(now - rejected.rejected_at)} ago: "
        text += first + (f" (and {more} more)" if more > 0 else "")
        found.append(Problem("revision", None, text, "powernode-agent status --json"))
    if status.accepted_revision is None:
        found.append(Problem("revision", None, "no desired state yet: nothing is applied", LOGS))
    elif status.applied_revision != status.accepted_revision:
        applied = "none" if status.applied_revision is None else str(status.applied_revision)
        text = (
            f"revision {status.accepted_revision} is accepted, but not applied (applied: {applied})"
        )
        found.append(Problem("revision", None, text, "powernode-agent plan"))
    return found


def _outcome_problem(status: NodeStatus, outcome: SubsystemOutcome, now: float) -> Problem:
    network = status.networks.get(outcome.network_id) if outcome.network_id else None
    where = network.name if network else outcome.network_id or "node"
    text = f"{where}: {outcome.subsystem}: {outcome.message}, for {age_text(now - outcome.since)}"
    return Problem(outcome.subsystem, outcome.network_id, text, LOGS)


def _mapping_problem(status: NodeStatus, mapping: PortMappingStatus) -> Problem:
    network = status.networks.get(mapping.network_id)
    where = network.name if network else mapping.network_id
    text = f"{where}: port mapping {mapping.id} ({mapping.external}): {mapping.message}"
    return Problem(f"port mapping {mapping.id}", mapping.network_id, text, LOGS)


def _peer_problem(peer: PeerStatus, port: int | None, now: float) -> Problem | None:
    if peer.state is None or _is_well(peer):
        return None
    there = f"on {peer.name}: powernode-agent status"
    reading = peer.liveness
    probes = f", {reading.sent} probes sent, {reading.answered} answered" if reading else ""
    if peer.state is PeerState.HANDSHAKE_PENDING:
        text = f"{peer.name} handshake_pending: not in the WireGuard device yet"
        following = "powernode-agent plan"
    elif peer.state is PeerState.HANDSHAKING:
        text = f"{peer.name} handshaking: no handshake ever{probes}"
        # Whether its answers reach this host tells a firewall on the way from a dead peer.
        following = (
            f"tcpdump -c 5 -ni any udp port {port} and host {peer.endpoint.address}"
            if peer.endpoint and port
            else there
        )
        if peer.endpoint is None:
            text += ", and no endpoint to call: it has to call us"
    elif peer.state is PeerState.SILENT:
        since = "" if peer.last_handshake is None else f" {age_text(now - peer.last_handshake)} ago"
        text = f"{peer.name} silent: last handshake{since}{probes}"
        following = f"ping -c 3 {peer.endpoint.address}" if peer.endpoint else there
    else:
        since = "" if reading is None else f" for {age_text(now - reading.since)}"
        text = (
            f"{peer.name} connected, but probes through the overlay are unanswered{since}{probes}"
        )
        following = there
    return Problem(peer.name, peer.network_id, text, following)
