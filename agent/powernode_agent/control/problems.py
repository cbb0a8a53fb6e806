"""The state words of a node and its networks, and the list of what is wrong with it now. Pure; a state
word is worst-first, and "ok" is said only of what was measured.

Problems are what `health` finds at this moment, however young; what has lasted is told as a warning.
"""

from __future__ import annotations

from typing import Final

from powernode_agent.control.protocol import JSON
from powernode_agent.health.codes import TABLE
from powernode_agent.health.condition import Condition
from powernode_agent.health.conditions import conditions_of
from powernode_agent.health.evaluate import with_roots
from powernode_agent.health.peers import is_well
from powernode_agent.health.routing import is_down
from powernode_agent.model.status import (
    BgpState,
    HolderState,
    NetworkStatus,
    NodeStatus,
    Result,
    Severity,
)

OK: Final = "ok"
DEGRADED: Final = "degraded"
NOT_MEASURED: Final = "not_measured"

Problem = tuple[Condition, str]
"""What is wrong now, and the code of the root cause that explains it; empty: none does."""


def find_problems(status: NodeStatus, now: float) -> list[Problem]:
    """All of them, causes before symptoms. A session over a tunnel that is down was never one."""
    return [
        (condition, root)
        for condition, root in with_roots(conditions_of(status, now))
        if not root or not condition.code.startswith("BGP-00")
    ]


def problem_document(problem: Problem) -> dict[str, JSON]:
    """`next` is what to type about this very thing; `powernode-agent doctor CODE` explains it."""
    condition, root = problem
    return {
        "code": condition.code,
        "severity": TABLE[condition.code].severity.value,
        "subject": condition.subject,
        "subject_id": condition.subject_id or condition.network_id or None,
        "network_id": condition.network_id,
        "text": condition.evidence,
        "next": condition.command,
        "muted_by": root or None,
    }


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
    sessions = [each for (of, _), each in status.bgp_sessions.items() if of == network.network_id]
    holders = [
        each.state for each in status.virtual_ips.values() if each.network_id == network.network_id
    ]
    firewall = status.firewalls.get(network.network_id)
    if (
        network.up is False
        or Result.ERROR in results
        or any(map(is_down, sessions))
        or HolderState.ABSENT in holders
        or any(peer.state is not None and not is_well(peer) for peer in own)
    ):
        return DEGRADED
    unknown = (
        network.up is None
        or (firewall is not None and firewall.rules is None)
        or Result.NOT_MEASURED in results
        or any(each.state is BgpState.NOT_MEASURED for each in sessions)
        or HolderState.NOT_MEASURED in holders
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
