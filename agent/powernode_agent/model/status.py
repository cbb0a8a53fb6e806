"""What a node is: measured, with its age. One tree feeds `status`, the reports, and the metrics.

Unknown is None, never zero. Times are seconds since the epoch by the node's clock, unless a name ends
in another unit. The words are those of status.proto and the runbook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    PathId,
    PeerId,
    Prefix,
    PublicKey,
    Revision,
)
from powernode_agent.model.violation import Violation
from powernode_agent.model.virtual_ip import VirtualIpId

SILENT_AFTER: Final = 300.0
"""Seconds without a handshake after which a peer is silent (runbook, phase 2)."""


class Backend(Enum):
    KERNEL = "kernel"
    USERSPACE = "userspace"


class PeerState(Enum):
    HANDSHAKE_PENDING = "handshake_pending"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    SILENT = "silent"


class Liveness(Enum):
    """Whether probes through the overlay are answered; absence from a mapping: not measured."""

    ALIVE = "alive"
    DEAD = "dead"


class Result(Enum):
    OK = "ok"
    ERROR = "error"
    NOT_MEASURED = "not_measured"


class BgpState(Enum):
    """FRR's six states of a session (runbook, phase 8)."""

    NOT_MEASURED = "not_measured"
    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class HolderState(Enum):
    """What this node is to a virtual IP."""

    NOT_MEASURED = "not_measured"
    HOLDING = "holding"
    STANDBY = "standby"
    """Has it not, and should not."""
    ABSENT = "absent"
    """Should have it, and has not."""


class Severity(Enum):
    """How bad a warning is, worst last."""

    INFO = "info"
    WARNING = "warning"
    """Something does not work as desired; traffic flows."""
    CRITICAL = "critical"
    """Traffic is cut."""


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """One peer as the WireGuard device has it. `last_handshake` None: never."""

    public_key: PublicKey
    endpoint: Endpoint | None
    last_handshake: float | None
    rx_bytes: int
    tx_bytes: int
    keepalive: int
    allowed_ips: frozenset[Prefix]
    has_preshared_key: bool


@dataclass(frozen=True, slots=True)
class WireguardDevice:
    """One WireGuard device as it is. `public_key` None: it has no private key yet."""

    link: str
    backend: Backend
    public_key: PublicKey | None
    listen_port: int
    peers: Mapping[PublicKey, WireguardPeer]


@dataclass(frozen=True, slots=True)
class LinkObservation:
    """One of our links as it is; a link that is not there has no observation."""

    ifindex: int
    name: str
    up: bool
    mtu: int
    addresses: frozenset[IPv4Interface | IPv6Interface]


@dataclass(frozen=True, slots=True)
class LivenessReading:
    """What the prober knows of one peer. `rtt` in seconds: median of the last answers."""

    state: Liveness
    since: float
    rtt: float | None
    sent: int
    answered: int


@dataclass(frozen=True, slots=True)
class AgentStatus:
    version: str
    kernel_release: str
    started_at: float
    drift_repaired: int


@dataclass(frozen=True, slots=True)
class RejectedRevision:
    revision: Revision
    reasons: tuple[Violation, ...]
    rejected_at: float


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    network_id: NetworkId
    name: str
    handle: str
    link: str
    role: str
    routing_mode: str
    up: bool | None = None
    mtu: int | None = None
    listen_port: int | None = None
    backend: Backend | None = None
    public_key: PublicKey | None = None
    node_keys: tuple[tuple[int, PublicKey], ...] = ()
    """(generation, public key) of the keys the node made itself."""
    wanted_public_key: PublicKey | None = None
    """The one that desired state gives this node; None: not known yet."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """`state` None: not measured. `public_key`: the key whose session is in use. `wanted_key`: the one
    that desired state gives the peer. `key_changed_at`: since when that stands in the place of one that
    worked, with no handshake since (seconds since the epoch); None: it does not."""

    peer_id: PeerId
    network_id: NetworkId
    name: str
    state: PeerState | None
    last_handshake: float | None = None
    endpoint: Endpoint | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    liveness: LivenessReading | None = None
    public_key: PublicKey | None = None
    next_key_ready: bool = False
    wanted_key: PublicKey | None = None
    key_changed_at: float | None = None
    is_user_device: bool = False
    """It may be asleep: that it is not heard of is no fault."""


@dataclass(frozen=True, slots=True)
class PathStatus:
    path_id: PathId
    network_id: NetworkId
    prefix: Prefix
    carried_by: PeerId | None
    reason: str


@dataclass(frozen=True, slots=True)
class SubsystemOutcome:
    """How one room's work on one network went; sticky until the same step succeeds."""

    subsystem: str
    network_id: NetworkId | None
    result: Result
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class EndpointCandidate:
    """An address of this node's own interfaces at which a network's port may be reached."""

    network_id: NetworkId
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class FirewallStatus:
    """The firewall of one network. `rules`: those in force; `dropped_packets`: dropped and rejected
    since the table was made. None: not measured."""

    network_id: NetworkId
    rules: int | None = None
    dropped_packets: int | None = None


@dataclass(frozen=True, slots=True)
class PortMappingStatus:
    """One port mapping. `message`: why not, with an error. `connections`: mapped since the rule was
    made; None: not measured. `external` and `internal` are what it was told to do, for people."""

    id: PortMappingId
    network_id: NetworkId
    result: Result = Result.NOT_MEASURED
    message: str = ""
    connections: int | None = None
    external: str = ""
    internal: str = ""


@dataclass(frozen=True, slots=True)
class BgpSession:
    """One iBGP session. `uptime_ms`: how long it has been established, None: it is not, or not
    measured. `last_reset_reason` in FRR's words, empty: it never was. `likely_cause` of a session that
    is down, or that stands over a dead way, drawn from evidence; empty: none found."""

    network_id: NetworkId
    neighbor_peer_id: PeerId
    state: BgpState = BgpState.NOT_MEASURED
    uptime_ms: int | None = None
    prefixes_received: int | None = None
    prefixes_sent: int | None = None
    last_reset_reason: str = ""
    likely_cause: str = ""
    neighbor_address: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class VirtualIpReading:
    """One virtual IP on this node. `since_ms`: milliseconds since the epoch. `announced`: whether the
    route to it was seen to be announced, None: not measured. `address` and `name` are for people."""

    virtual_ip_id: VirtualIpId
    network_id: NetworkId
    state: HolderState
    since_ms: int
    announced: bool | None = None
    address: IPv6Address | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class FlannelReading:
    """What k3s is told and what flannel says. `message`: why not, with an error. `restarted_at_ms`:
    when k3s was last restarted for a change, milliseconds since the epoch, None: never. `pod_subnet`:
    the prefix of this node's pods, None: not measured. `other_network`: what flannel takes for the
    prefix of all pods, where it is another than wanted."""

    network_id: NetworkId
    result: Result = Result.NOT_MEASURED
    message: str = ""
    restarted_at_ms: int | None = None
    pod_subnet: Prefix | None = None
    other_network: Prefix | None = None


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """One finding of `health`. `subject_id`: what it is about (a network, a peer, a firewall rule),
    empty: the node; `network_id`: the network that is on. `evidence` is what was measured, in one
    sentence; `fix` is what to do. `since` in seconds since the epoch."""

    code: str
    severity: Severity
    subject_id: str
    evidence: str
    cause: str
    fix: str
    since: float
    network_id: NetworkId | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """All of it, at one moment."""

    at: float
    agent: AgentStatus
    node_id: str
    node_name: str
    platform: str
    """In words, with age: "connected", "away for 41 s: <error>", "file <path>"."""
    accepted_revision: Revision | None = None
    applied_revision: Revision | None = None
    applied_at: float | None = None
    applied_in: float | None = None
    """Seconds from the revision's arrival to its last kernel write."""
    rejected: RejectedRevision | None = None
    networks: Mapping[NetworkId, NetworkStatus] = field(default_factory=dict)
    peers: Mapping[tuple[NetworkId, PeerId], PeerStatus] = field(default_factory=dict)
    paths: Mapping[PathId, PathStatus] = field(default_factory=dict)
    outcomes: tuple[SubsystemOutcome, ...] = ()
    endpoint_candidates: tuple[EndpointCandidate, ...] = ()
    firewalls: Mapping[NetworkId, FirewallStatus] = field(default_factory=dict)
    """Networks that have something to enforce, and those whose firewall was found at work."""
    port_mappings: Mapping[PortMappingId, PortMappingStatus] = field(default_factory=dict)
    bgp_sessions: Mapping[tuple[NetworkId, PeerId], BgpSession] = field(default_factory=dict)
    """By network and neighbour."""
    virtual_ips: Mapping[VirtualIpId, VirtualIpReading] = field(default_factory=dict)
    warnings: tuple[HealthWarning, ...] = ()
    flannel: FlannelReading | None = None
    platform_away_since: float | None = None
    """Seconds since the epoch; None: it is not away, or was never reached."""
