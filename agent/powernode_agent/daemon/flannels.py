"""What is known of k3s on this node: for the status, and for readiness."""

from __future__ import annotations

from powernode_agent.flannel.compile import compile_drop_in
from powernode_agent.flannel.subnet import inside
from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import FlannelReading, Result
from powernode_agent.reconcile.ledger import FLANNEL, Ledger


def k3s_misses(state: DesiredState, flannel: Flannel) -> str:
    """What k3s would not find if it started now, as a sentence; empty: it finds all it has to."""
    target = compile_drop_in(state)
    if target is None or flannel.stands(target):
        return ""
    return f"the file for k3s on network {target.network_id} is not written yet"


def measure_flannel(
    state: DesiredState | None, flannel: Flannel, ledger: Ledger
) -> FlannelReading | None:
    """The reading of this node; None: no bootstrap is wanted here."""
    target = None if state is None else compile_drop_in(state)
    if target is None:
        return None
    error = ledger.failing(FLANNEL).get(target.network_id)
    result = Result.OK if flannel.stands(target) else Result.NOT_MEASURED
    seen = flannel.subnet
    return FlannelReading(
        target.network_id,
        result if error is None else Result.ERROR,
        "" if error is None else str(error),
        flannel.restarted_at_ms,
        inside(seen.own, target.cluster_cidr) if seen.network == target.cluster_cidr else None,
        seen.network if seen.network != target.cluster_cidr else None,
    )
