from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WireguardBackend(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WIREGUARD_BACKEND_UNSPECIFIED: _ClassVar[WireguardBackend]
    WIREGUARD_BACKEND_KERNEL: _ClassVar[WireguardBackend]
    WIREGUARD_BACKEND_USERSPACE: _ClassVar[WireguardBackend]

class PeerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_STATE_UNSPECIFIED: _ClassVar[PeerState]
    PEER_STATE_HANDSHAKE_PENDING: _ClassVar[PeerState]
    PEER_STATE_HANDSHAKING: _ClassVar[PeerState]
    PEER_STATE_CONNECTED: _ClassVar[PeerState]
    PEER_STATE_SILENT: _ClassVar[PeerState]

class Liveness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIVENESS_UNSPECIFIED: _ClassVar[Liveness]
    LIVENESS_ALIVE: _ClassVar[Liveness]
    LIVENESS_DEAD: _ClassVar[Liveness]

class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_UNSPECIFIED: _ClassVar[Result]
    RESULT_OK: _ClassVar[Result]
    RESULT_ERROR: _ClassVar[Result]

class EndpointSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDPOINT_SOURCE_UNSPECIFIED: _ClassVar[EndpointSource]
    ENDPOINT_SOURCE_INTERFACE: _ClassVar[EndpointSource]
    ENDPOINT_SOURCE_OBSERVED: _ClassVar[EndpointSource]

class BgpState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BGP_STATE_UNSPECIFIED: _ClassVar[BgpState]
    BGP_STATE_IDLE: _ClassVar[BgpState]
    BGP_STATE_CONNECT: _ClassVar[BgpState]
    BGP_STATE_ACTIVE: _ClassVar[BgpState]
    BGP_STATE_OPEN_SENT: _ClassVar[BgpState]
    BGP_STATE_OPEN_CONFIRM: _ClassVar[BgpState]
    BGP_STATE_ESTABLISHED: _ClassVar[BgpState]

class HolderState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOLDER_STATE_UNSPECIFIED: _ClassVar[HolderState]
    HOLDER_STATE_HOLDING: _ClassVar[HolderState]
    HOLDER_STATE_STANDBY: _ClassVar[HolderState]
    HOLDER_STATE_ABSENT: _ClassVar[HolderState]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]
WIREGUARD_BACKEND_UNSPECIFIED: WireguardBackend
WIREGUARD_BACKEND_KERNEL: WireguardBackend
WIREGUARD_BACKEND_USERSPACE: WireguardBackend
PEER_STATE_UNSPECIFIED: PeerState
PEER_STATE_HANDSHAKE_PENDING: PeerState
PEER_STATE_HANDSHAKING: PeerState
PEER_STATE_CONNECTED: PeerState
PEER_STATE_SILENT: PeerState
LIVENESS_UNSPECIFIED: Liveness
LIVENESS_ALIVE: Liveness
LIVENESS_DEAD: Liveness
RESULT_UNSPECIFIED: Result
RESULT_OK: Result
RESULT_ERROR: Result
ENDPOINT_SOURCE_UNSPECIFIED: EndpointSource
ENDPOINT_SOURCE_INTERFACE: EndpointSource
ENDPOINT_SOURCE_OBSERVED: EndpointSource
BGP_STATE_UNSPECIFIED: BgpState
BGP_STATE_IDLE: BgpState
BGP_STATE_CONNECT: BgpState
BGP_STATE_ACTIVE: BgpState
BGP_STATE_OPEN_SENT: BgpState
BGP_STATE_OPEN_CONFIRM: BgpState
BGP_STATE_ESTABLISHED: BgpState
HOLDER_STATE_UNSPECIFIED: HolderState
HOLDER_STATE_HOLDING: HolderState
HOLDER_STATE_STANDBY: HolderState
HOLDER_STATE_ABSENT: HolderState
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_WARNING: Severity
SEVERITY_CRITICAL: Severity

class StatusReport(_message.Message):
    __slots__ = ("sequence", "reported_at_ms", "full", "agent", "applied_revision", "accepted_revision", "rejected", "networks", "peers", "paths", "outcomes", "endpoint_candidates", "bgp_sessions", "virtual_ips", "port_mappings", "firewalls", "flannel", "warnings")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPORTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    BGP_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    VIRTUAL_IPS_FIELD_NUMBER: _ClassVar[int]
    PORT_MAPPINGS_FIELD_NUMBER: _ClassVar[int]
    FIREWALLS_FIELD_NUMBER: _ClassVar[int]
    FLANNEL_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reported_at_ms: int
    full: bool
    agent: AgentStatus
    applied_revision: int
    accepted_revision: int
    rejected: RejectedRevision
    networks: _containers.RepeatedCompositeFieldContainer[NetworkStatus]
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    paths: _containers.RepeatedCompositeFieldContainer[PathStatus]
    outcomes: _containers.RepeatedCompositeFieldContainer[SubsystemOutcome]
    endpoint_candidates: _containers.RepeatedCompositeFieldContainer[EndpointCandidate]
    bgp_sessions: _containers.RepeatedCompositeFieldContainer[BgpSessionStatus]
    virtual_ips: _containers.RepeatedCompositeFieldContainer[VirtualIpStatus]
    port_mappings: _containers.RepeatedCompositeFieldContainer[PortMappingStatus]
    firewalls: _containers.RepeatedCompositeFieldContainer[FirewallStatus]
    flannel: FlannelStatus
    warnings: _containers.RepeatedCompositeFieldContainer[HealthWarning]
    def __init__(self, sequence: _Optional[int] = ..., reported_at_ms: _Optional[int] = ..., full: _Optional[bool] = ..., agent: _Optional[_Union[AgentStatus, _Mapping]] = ..., applied_revision: _Optional[int] = ..., accepted_revision: _Optional[int] = ..., rejected: _Optional[_Union[RejectedRevision, _Mapping]] = ..., networks: _Optional[_Iterable[_Union[NetworkStatus, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., paths: _Optional[_Iterable[_Union[PathStatus, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[SubsystemOutcome, _Mapping]]] = ..., endpoint_candidates: _Optional[_Iterable[_Union[EndpointCandidate, _Mapping]]] = ..., bgp_sessions: _Optional[_Iterable[_Union[BgpSessionStatus, _Mapping]]] = ..., virtual_ips: _Optional[_Iterable[_Union[VirtualIpStatus, _Mapping]]] = ..., port_mappings: _Optional[_Iterable[_Union[PortMappingStatus, _Mapping]]] = ..., firewalls: _Optional[_Iterable[_Union[FirewallStatus, _Mapping]]] = ..., flannel: _Optional[_Union[FlannelStatus, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[HealthWarning, _Mapping]]] = ...) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("version", "kernel_release", "started_at_ms", "drift_repaired")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_REPAIRED_FIELD_NUMBER: _ClassVar[int]
    version: str
    kernel_release: str
    started_at_ms: int
    drift_repaired: int
    def __init__(self, version: _Optional[str] = ..., kernel_release: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., drift_repaired: _Optional[int] = ...) -> None: ...

class RejectedRevision(_message.Message):
    __slots__ = ("revision", "reasons", "rejected_at_ms")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    reasons: _containers.RepeatedCompositeFieldContainer[Rejection]
    rejected_at_ms: int
    def __init__(self, revision: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., rejected_at_ms: _Optional[int] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("resource", "field", "value", "expected")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    resource: str
    field: str
    value: str
    expected: str
    def __init__(self, resource: _Optional[str] = ..., field: _Optional[str] = ..., value: _Optional[str] = ..., expected: _Optional[str] = ...) -> None: ...

class NetworkStatus(_message.Message):
    __slots__ = ("network_id", "link", "up", "mtu", "listen_port", "backend", "public_key", "node_keys")
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    LISTEN_PORT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_KEYS_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    link: str
    up: bool
    mtu: int
    listen_port: int
    backend: WireguardBackend
    public_key: str
    node_keys: _containers.RepeatedCompositeFieldContainer[NodeKey]
    def __init__(self, network_id: _Optional[str] = ..., link: _Optional[str] = ..., up: _Optional[bool] = ..., mtu: _Optional[int] = ..., listen_port: _Optional[int] = ..., backend: _Optional[_Union[WireguardBackend, str]] = ..., public_key: _Optional[str] = ..., node_keys: _Optional[_Iterable[_Union[NodeKey, _Mapping]]] = ...) -> None: ...

class NodeKey(_message.Message):
    __slots__ = ("generation", "public_key")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    generation: int
    public_key: str
    def __init__(self, generation: _Optional[int] = ..., public_key: _Optional[str] = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("peer_id", "network_id", "state", "last_handshake_at_ms", "endpoint", "rx_bytes", "tx_bytes", "liveness", "rtt_us", "public_key", "next_key_ready")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_HANDSHAKE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    RX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TX_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_FIELD_NUMBER: _ClassVar[int]
    RTT_US_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NEXT_KEY_READY_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    network_id: str
    state: PeerState
    last_handshake_at_ms: int
    endpoint: str
    rx_bytes: int
    tx_bytes: int
    liveness: Liveness
    rtt_us: int
    public_key: str
    next_key_ready: bool
    def __init__(self, peer_id: _Optional[str] = ..., network_id: _Optional[str] = ..., state: _Optional[_Union[PeerState, str]] = ..., last_handshake_at_ms: _Optional[int] = ..., endpoint: _Optional[str] = ..., rx_bytes: _Optional[int] = ..., tx_bytes: _Optional[int] = ..., liveness: _Optional[_Union[Liveness, str]] = ..., rtt_us: _Optional[int] = ..., public_key: _Optional[str] = ..., next_key_ready: _Optional[bool] = ...) -> None: ...

class PathStatus(_message.Message):
    __slots__ = ("path_id", "network_id", "carried_by_peer_id", "reason")
    PATH_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    CARRIED_BY_PEER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path_id: str
    network_id: str
    carried_by_peer_id: str
    reason: str
    def __init__(self, path_id: _Optional[str] = ..., network_id: _Optional[str] = ..., carried_by_peer_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SubsystemOutcome(_message.Message):
    __slots__ = ("subsystem", "network_id", "result", "message", "since_ms")
    SUBSYSTEM_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    subsystem: str
    network_id: str
    result: Result
    message: str
    since_ms: int
    def __init__(self, subsystem: _Optional[str] = ..., network_id: _Optional[str] = ..., result: _Optional[_Union[Result, str]] = ..., message: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class EndpointCandidate(_message.Message):
    __slots__ = ("network_id", "endpoint", "source")
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    endpoint: str
    source: EndpointSource
    def __init__(self, network_id: _Optional[str] = ..., endpoint: _Optional[str] = ..., source: _Optional[_Union[EndpointSource, str]] = ...) -> None: ...

class BgpSessionStatus(_message.Message):
    __slots__ = ("network_id", "neighbor_peer_id", "state", "uptime_ms", "prefixes_received", "prefixes_sent", "last_reset_reason", "likely_cause")
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOR_PEER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_SENT_FIELD_NUMBER: _ClassVar[int]
    LAST_RESET_REASON_FIELD_NUMBER: _ClassVar[int]
    LIKELY_CAUSE_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    neighbor_peer_id: str
    state: BgpState
    uptime_ms: int
    prefixes_received: int
    prefixes_sent: int
    last_reset_reason: str
    likely_cause: str
    def __init__(self, network_id: _Optional[str] = ..., neighbor_peer_id: _Optional[str] = ..., state: _Optional[_Union[BgpState, str]] = ..., uptime_ms: _Optional[int] = ..., prefixes_received: _Optional[int] = ..., prefixes_sent: _Optional[int] = ..., last_reset_reason: _Optional[str] = ..., likely_cause: _Optional[str] = ...) -> None: ...

class VirtualIpStatus(_message.Message):
    __slots__ = ("virtual_ip_id", "state", "since_ms", "announced")
    VIRTUAL_IP_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    virtual_ip_id: str
    state: HolderState
    since_ms: int
    announced: bool
    def __init__(self, virtual_ip_id: _Optional[str] = ..., state: _Optional[_Union[HolderState, str]] = ..., since_ms: _Optional[int] = ..., announced: _Optional[bool] = ...) -> None: ...

class PortMappingStatus(_message.Message):
    __slots__ = ("port_mapping_id", "result", "message", "connections")
    PORT_MAPPING_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    port_mapping_id: str
    result: Result
    message: str
    connections: int
    def __init__(self, port_mapping_id: _Optional[str] = ..., result: _Optional[_Union[Result, str]] = ..., message: _Optional[str] = ..., connections: _Optional[int] = ...) -> None: ...

class FirewallStatus(_message.Message):
    __slots__ = ("network_id", "rules", "dropped_packets")
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_PACKETS_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    rules: int
    dropped_packets: int
    def __init__(self, network_id: _Optional[str] = ..., rules: _Optional[int] = ..., dropped_packets: _Optional[int] = ...) -> None: ...

class FlannelStatus(_message.Message):
    __slots__ = ("result", "message", "restarted_at_ms", "pod_subnet")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESTARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    POD_SUBNET_FIELD_NUMBER: _ClassVar[int]
    result: Result
    message: str
    restarted_at_ms: int
    pod_subnet: str
    def __init__(self, result: _Optional[_Union[Result, str]] = ..., message: _Optional[str] = ..., restarted_at_ms: _Optional[int] = ..., pod_subnet: _Optional[str] = ...) -> None: ...

class HealthWarning(_message.Message):
    __slots__ = ("code", "severity", "subject_id", "evidence", "cause", "fix", "since_ms", "network_id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    code: str
    severity: Severity
    subject_id: str
    evidence: str
    cause: str
    fix: str
    since_ms: int
    network_id: str
    def __init__(self, code: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., subject_id: _Optional[str] = ..., evidence: _Optional[str] = ..., cause: _Optional[str] = ..., fix: _Optional[str] = ..., since_ms: _Optional[int] = ..., network_id: _Optional[str] = ...) -> None: ...
