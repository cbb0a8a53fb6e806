from powernode.sdwan.v1 import bgp_pb2 as _bgp_pb2
from powernode.sdwan.v1 import firewall_pb2 as _firewall_pb2
from powernode.sdwan.v1 import flannel_pb2 as _flannel_pb2
from powernode.sdwan.v1 import port_mapping_pb2 as _port_mapping_pb2
from powernode.sdwan.v1 import virtual_ip_pb2 as _virtual_ip_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoutingMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTING_MODE_UNSPECIFIED: _ClassVar[RoutingMode]
    ROUTING_MODE_STATIC: _ClassVar[RoutingMode]
    ROUTING_MODE_IBGP: _ClassVar[RoutingMode]

class PeerRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_ROLE_UNSPECIFIED: _ClassVar[PeerRole]
    PEER_ROLE_HUB: _ClassVar[PeerRole]
    PEER_ROLE_SPOKE: _ClassVar[PeerRole]

class KeySource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_SOURCE_UNSPECIFIED: _ClassVar[KeySource]
    KEY_SOURCE_PLATFORM: _ClassVar[KeySource]
    KEY_SOURCE_NODE: _ClassVar[KeySource]

class PeerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_KIND_UNSPECIFIED: _ClassVar[PeerKind]
    PEER_KIND_NODE: _ClassVar[PeerKind]
    PEER_KIND_USER_DEVICE: _ClassVar[PeerKind]
    PEER_KIND_FEDERATION: _ClassVar[PeerKind]

class PathPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATH_PURPOSE_UNSPECIFIED: _ClassVar[PathPurpose]
    PATH_PURPOSE_OVERLAY: _ClassVar[PathPurpose]
    PATH_PURPOSE_LAN: _ClassVar[PathPurpose]
    PATH_PURPOSE_VIRTUAL_IP: _ClassVar[PathPurpose]
    PATH_PURPOSE_POD_SUBNET: _ClassVar[PathPurpose]
    PATH_PURPOSE_FEDERATION: _ClassVar[PathPurpose]
ROUTING_MODE_UNSPECIFIED: RoutingMode
ROUTING_MODE_STATIC: RoutingMode
ROUTING_MODE_IBGP: RoutingMode
PEER_ROLE_UNSPECIFIED: PeerRole
PEER_ROLE_HUB: PeerRole
PEER_ROLE_SPOKE: PeerRole
KEY_SOURCE_UNSPECIFIED: KeySource
KEY_SOURCE_PLATFORM: KeySource
KEY_SOURCE_NODE: KeySource
PEER_KIND_UNSPECIFIED: PeerKind
PEER_KIND_NODE: PeerKind
PEER_KIND_USER_DEVICE: PeerKind
PEER_KIND_FEDERATION: PeerKind
PATH_PURPOSE_UNSPECIFIED: PathPurpose
PATH_PURPOSE_OVERLAY: PathPurpose
PATH_PURPOSE_LAN: PathPurpose
PATH_PURPOSE_VIRTUAL_IP: PathPurpose
PATH_PURPOSE_POD_SUBNET: PathPurpose
PATH_PURPOSE_FEDERATION: PathPurpose

class DesiredState(_message.Message):
    __slots__ = ("revision", "node", "networks", "peers", "paths", "virtual_ips", "firewall_tags", "firewall_rules", "port_mappings", "bgp_instances", "route_policies", "flannel_bootstraps")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    VIRTUAL_IPS_FIELD_NUMBER: _ClassVar[int]
    FIREWALL_TAGS_FIELD_NUMBER: _ClassVar[int]
    FIREWALL_RULES_FIELD_NUMBER: _ClassVar[int]
    PORT_MAPPINGS_FIELD_NUMBER: _ClassVar[int]
    BGP_INSTANCES_FIELD_NUMBER: _ClassVar[int]
    ROUTE_POLICIES_FIELD_NUMBER: _ClassVar[int]
    FLANNEL_BOOTSTRAPS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    node: Node
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    paths: _containers.RepeatedCompositeFieldContainer[Path]
    virtual_ips: _containers.RepeatedCompositeFieldContainer[_virtual_ip_pb2.VirtualIp]
    firewall_tags: _containers.RepeatedCompositeFieldContainer[_firewall_pb2.FirewallTag]
    firewall_rules: _containers.RepeatedCompositeFieldContainer[_firewall_pb2.FirewallRule]
    port_mappings: _containers.RepeatedCompositeFieldContainer[_port_mapping_pb2.PortMapping]
    bgp_instances: _containers.RepeatedCompositeFieldContainer[_bgp_pb2.BgpInstance]
    route_policies: _containers.RepeatedCompositeFieldContainer[_bgp_pb2.RoutePolicy]
    flannel_bootstraps: _containers.RepeatedCompositeFieldContainer[_flannel_pb2.FlannelBootstrap]
    def __init__(self, revision: _Optional[int] = ..., node: _Optional[_Union[Node, _Mapping]] = ..., networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., paths: _Optional[_Iterable[_Union[Path, _Mapping]]] = ..., virtual_ips: _Optional[_Iterable[_Union[_virtual_ip_pb2.VirtualIp, _Mapping]]] = ..., firewall_tags: _Optional[_Iterable[_Union[_firewall_pb2.FirewallTag, _Mapping]]] = ..., firewall_rules: _Optional[_Iterable[_Union[_firewall_pb2.FirewallRule, _Mapping]]] = ..., port_mappings: _Optional[_Iterable[_Union[_port_mapping_pb2.PortMapping, _Mapping]]] = ..., bgp_instances: _Optional[_Iterable[_Union[_bgp_pb2.BgpInstance, _Mapping]]] = ..., route_policies: _Optional[_Iterable[_Union[_bgp_pb2.RoutePolicy, _Mapping]]] = ..., flannel_bootstraps: _Optional[_Iterable[_Union[_flannel_pb2.FlannelBootstrap, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "name", "account_id", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    account_id: str
    version: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., account_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("id", "name", "handle", "prefix", "overlay_ipv4_prefix", "routing_mode", "pod_subnet_prefix", "interface", "firewall_policy", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_IPV4_PREFIX_FIELD_NUMBER: _ClassVar[int]
    ROUTING_MODE_FIELD_NUMBER: _ClassVar[int]
    POD_SUBNET_PREFIX_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    FIREWALL_POLICY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    handle: str
    prefix: str
    overlay_ipv4_prefix: str
    routing_mode: RoutingMode
    pod_subnet_prefix: str
    interface: Interface
    firewall_policy: _firewall_pb2.FirewallPolicy
    version: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., handle: _Optional[str] = ..., prefix: _Optional[str] = ..., overlay_ipv4_prefix: _Optional[str] = ..., routing_mode: _Optional[_Union[RoutingMode, str]] = ..., pod_subnet_prefix: _Optional[str] = ..., interface: _Optional[_Union[Interface, _Mapping]] = ..., firewall_policy: _Optional[_Union[_firewall_pb2.FirewallPolicy, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("peer_id", "address", "overlay_ipv4", "role", "listen_port", "mtu", "key_source", "private_key", "key_generation", "next_key_generation", "lan_subnets")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_IPV4_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_PORT_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    KEY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_KEY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    LAN_SUBNETS_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    address: str
    overlay_ipv4: str
    role: PeerRole
    listen_port: int
    mtu: int
    key_source: KeySource
    private_key: str
    key_generation: int
    next_key_generation: int
    lan_subnets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, peer_id: _Optional[str] = ..., address: _Optional[str] = ..., overlay_ipv4: _Optional[str] = ..., role: _Optional[_Union[PeerRole, str]] = ..., listen_port: _Optional[int] = ..., mtu: _Optional[int] = ..., key_source: _Optional[_Union[KeySource, str]] = ..., private_key: _Optional[str] = ..., key_generation: _Optional[int] = ..., next_key_generation: _Optional[int] = ..., lan_subnets: _Optional[_Iterable[str]] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("id", "network_id", "name", "kind", "role", "public_key", "next_public_key", "preshared_key", "host_address", "host_ipv4", "endpoint", "persistent_keepalive_seconds", "permitted_prefixes", "publicly_reachable", "remote_account_id", "remote_network_id", "advertised_prefixes", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NEXT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    PRESHARED_KEY_FIELD_NUMBER: _ClassVar[int]
    HOST_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HOST_IPV4_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_KEEPALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PERMITTED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    PUBLICLY_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REMOTE_NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ADVERTISED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    name: str
    kind: PeerKind
    role: PeerRole
    public_key: str
    next_public_key: str
    preshared_key: str
    host_address: str
    host_ipv4: str
    endpoint: str
    persistent_keepalive_seconds: int
    permitted_prefixes: _containers.RepeatedScalarFieldContainer[str]
    publicly_reachable: bool
    remote_account_id: str
    remote_network_id: str
    advertised_prefixes: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[PeerKind, str]] = ..., role: _Optional[_Union[PeerRole, str]] = ..., public_key: _Optional[str] = ..., next_public_key: _Optional[str] = ..., preshared_key: _Optional[str] = ..., host_address: _Optional[str] = ..., host_ipv4: _Optional[str] = ..., endpoint: _Optional[str] = ..., persistent_keepalive_seconds: _Optional[int] = ..., permitted_prefixes: _Optional[_Iterable[str]] = ..., publicly_reachable: _Optional[bool] = ..., remote_account_id: _Optional[str] = ..., remote_network_id: _Optional[str] = ..., advertised_prefixes: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class Path(_message.Message):
    __slots__ = ("id", "network_id", "prefix", "purpose", "candidates", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    prefix: str
    purpose: PathPurpose
    candidates: _containers.RepeatedCompositeFieldContainer[PathCandidate]
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., prefix: _Optional[str] = ..., purpose: _Optional[_Union[PathPurpose, str]] = ..., candidates: _Optional[_Iterable[_Union[PathCandidate, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class PathCandidate(_message.Message):
    __slots__ = ("peer_id",)
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    def __init__(self, peer_id: _Optional[str] = ...) -> None: ...
