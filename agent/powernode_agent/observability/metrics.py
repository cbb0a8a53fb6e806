"""Prometheus metrics: counters that the daemon feeds, and gauges drawn from the last status.

The gauges are made at each scrape from the `NodeStatus` itself: a network that went leaves no series
behind, and what was not measured has no sample, because a Prometheus zero is a claim. Labels are
subsystems, triggers, networks and states only: nobody's 5,000 peers become 5,000 series.
The registry is our own; the collectors of the process that prometheus-client puts in its global one
are not in it.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from powernode_agent.model.status import NodeStatus, PeerState, Result
from powernode_agent.model.values import NetworkId

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Feed it; `render()` is the body of /metrics. `backend` may become known later."""

    def __init__(self, version: str, clock: Callable[[], float] = time.time) -> None:
        registry = CollectorRegistry(auto_describe=False)
        self._registry = registry
        self._passes = Histogram(
            "powernode_agent_reconcile_duration_seconds",
            "Duration of reconcile passes, by what asked for them.",
            ["trigger"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._failed_passes = Counter(
            "powernode_agent_reconcile_errors",
            "Reconcile passes in which a step failed.",
            ["trigger"],
            registry=registry,
        )
        self._writes = Counter(
            "powernode_agent_kernel_writes",
            "Changes written to the kernel, by subsystem.",
            ["subsystem"],
            registry=registry,
        )
        self._drift = Counter(
            "powernode_agent_drift_repaired",
            "Things of ours that others had changed and the agent put right, by subsystem.",
            ["subsystem"],
            registry=registry,
        )
        self._rejected = Counter(
            "powernode_agent_revisions_rejected",
            "Revisions of desired state that were refused.",
            registry=registry,
        )
        self._state = _StatusCollector(version, clock)
        registry.register(self._state)

    def observe_pass(
        self,
        trigger: str,
        seconds: float,
        *,
        writes: Mapping[str, int] | None = None,
        drift: Mapping[str, int] | None = None,
        failed: bool = False,
    ) -> None:
        """One reconcile pass: what asked for it ("revision", "drift", "timer", "signal", ...), how
        long it took, and what it wrote and repaired, by subsystem."""
        self._passes.labels(trigger).observe(seconds)
        if failed:
            self._failed_passes.labels(trigger).inc()
        for subsystem, count in (writes or {}).items():
            self._writes.labels(subsystem).inc(count)
        for subsystem, count in (drift or {}).items():
            self._drift.labels(subsystem).inc(count)

    def revision_rejected(self) -> None:
        """A revision was refused."""
        self._rejected.inc()

    def set_backend(self, backend: str) -> None:
        """How WireGuard runs on this node, once that is known."""
        self._state.backend = backend

    def set_status(self, status: NodeStatus) -> None:
        """The status that the next scrapes show."""
        self._state.status = status

    def set_platform_connected(self, connected: bool | None) -> None:
        """Whether the platform is connected; None: there is none."""
        self._state.platform_connected = connected

    def set_certificate_expiry(self, expires_at: float | None) -> None:
        """When the node's certificate ends, in seconds since the epoch; None: it has none."""
        self._state.certificate_expires_at = expires_at

    def render(self) -> bytes:
        """The text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)


class _StatusCollector(Collector):
    """Gauges from the last status, made when they are scraped."""

    def __init__(self, version: str, clock: Callable[[], float]) -> None:
        self._version = version
        self._clock = clock
        self.backend = ""
        self.status: NodeStatus | None = None
        self.platform_connected: bool | None = None
        self.certificate_expires_at: float | None = None

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "powernode_agent_info", "The agent.", labels=["version", "backend"]
        )
        info.add_metric([self._version, self.backend], 1)
        yield info
        connected = self.platform_connected
        yield from _single(
            "platform_connected",
            "Whether the platform is connected.",
            None if connected is None else float(connected),
        )
        yield from _single(
            "certificate_expiry_timestamp_seconds",
            "When the node's certificate ends.",
            self.certificate_expires_at,
        )
        if self.status is not None:
            yield from self._of_status(self.status)

    def _of_status(self, status: NodeStatus) -> Iterator[Metric]:
        yield from _single(
            "start_time_seconds", "When the daemon started.", status.agent.started_at
        )
        yield from _single("status_timestamp_seconds", "When the status was measured.", status.at)
        yield from _single(
            "revision_accepted", "Revision the agent works towards.", status.accepted_revision
        )
        yield from _single(
            "revision_applied", "Revision that stands in the kernel.", status.applied_revision
        )
        yield from _single(
            "revision_rejected_current",
            "The last refused revision, until a newer one is accepted.",
            status.rejected.revision if status.rejected else None,
        )
        yield from self._peers(status)
        errors = GaugeMetricFamily(
            "powernode_agent_subsystem_ok",
            "1: as desired, 0: error; no sample: not measured.",
            labels=["subsystem", "network"],
        )
        for outcome in status.outcomes:
            if outcome.result is not Result.NOT_MEASURED:
                errors.add_metric(
                    [outcome.subsystem, _network_name(status, outcome.network_id)],
                    float(outcome.result is Result.OK),
                )
        yield errors
        yield _health(status)
        yield from _routing(status)

    def _peers(self, status: NodeStatus) -> Iterator[Metric]:
        words = [*(state.value for state in PeerState), "not_measured"]
        counts = {(network, word): 0 for network in status.networks for word in words}
        oldest: dict[tuple[NetworkId, str], float] = {}
        now = self._clock()
        for peer in status.peers.values():
            key = (peer.network_id, peer.state.value if peer.state else "not_measured")
            counts[key] = counts.get(key, 0) + 1
            if peer.last_handshake is not None:
                oldest[key] = max(oldest.get(key, 0.0), now - peer.last_handshake)
        peers = GaugeMetricFamily(
            "powernode_agent_peers", "Peers, by state.", labels=["network", "state"]
        )
        for (network, word), count in counts.items():
            peers.add_metric([_network_name(status, network), word], count)
        yield peers
        ages = GaugeMetricFamily(
            "powernode_agent_oldest_handshake_age_seconds",
            "Age of the oldest last handshake among the peers of a state.",
            labels=["network", "state"],
        )
        for (network, word), age in oldest.items():
            ages.add_metric([_network_name(status, network), word], age)
        yield ages


def _health(status: NodeStatus) -> Metric:
    """Findings by code, as told to the platform and by `doctor`. A code without one has no sample."""
    found = GaugeMetricFamily(
        "powernode_agent_health_findings",
        "Findings that hold now, by health code (agent/HEALTH.md).",
        labels=["code", "severity", "network"],
    )
    counts = Counts(
        (each.code, each.severity.value, _network_name(status, each.network_id))
        for each in status.warnings
    )
    for labels, count in counts.items():
        found.add_metric(list(labels), count)
    return found


def _routing(status: NodeStatus) -> Iterator[Metric]:
    """Sessions and virtual IPs by network and state: as many series for 1,000 neighbours as for one."""
    sessions = GaugeMetricFamily(
        "powernode_agent_bgp_sessions", "iBGP sessions, by state.", labels=["network", "state"]
    )
    states = Counts((id_, each.state.value) for (id_, _), each in status.bgp_sessions.items())
    for (network, state), count in states.items():
        sessions.add_metric([_network_name(status, network), state], count)
    yield sessions
    prefixes = GaugeMetricFamily(
        "powernode_agent_bgp_prefixes_received",
        "Prefixes received over the iBGP sessions of which that was measured.",
        labels=["network"],
    )
    received: Counts[NetworkId] = Counts()
    for (id_, _), each in status.bgp_sessions.items():
        if each.prefixes_received is not None:
            received[id_] += each.prefixes_received
    for network, count in received.items():
        prefixes.add_metric([_network_name(status, network)], count)
    yield prefixes
    virtual_ips = GaugeMetricFamily(
        "powernode_agent_virtual_ips", "Virtual IPs, by state.", labels=["network", "state"]
    )
    states = Counts((each.network_id, each.state.value) for each in status.virtual_ips.values())
    for (network, state), count in states.items():
        virtual_ips.add_metric([_network_name(status, network), state], count)
    yield virtual_ips


def _single(name: str, text: str, value: float | None) -> Iterator[Metric]:
    """A gauge without labels; none at all if its value is not known."""
    if value is not None:
        yield GaugeMetricFamily(f"powernode_agent_{name}", text, value=value)


def _network_name(status: NodeStatus, network_id: NetworkId | None) -> str:
    """The network's name, its id if it has gone, "" for the whole node."""
    network = status.networks.get(network_id) if network_id is not None else None
    return network.name if network else network_id or ""
