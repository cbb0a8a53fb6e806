from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FirewallAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIREWALL_ACTION_UNSPECIFIED: _ClassVar[FirewallAction]
    FIREWALL_ACTION_ACCEPT: _ClassVar[FirewallAction]
    FIREWALL_ACTION_DROP: _ClassVar[FirewallAction]
    FIREWALL_ACTION_REJECT: _ClassVar[FirewallAction]

class FirewallDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIREWALL_DIRECTION_UNSPECIFIED: _ClassVar[FirewallDirection]
    FIREWALL_DIRECTION_INGRESS: _ClassVar[FirewallDirection]
    FIREWALL_DIRECTION_EGRESS: _ClassVar[FirewallDirection]
    FIREWALL_DIRECTION_BOTH: _ClassVar[FirewallDirection]

class FirewallProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIREWALL_PROTOCOL_UNSPECIFIED: _ClassVar[FirewallProtocol]
    FIREWALL_PROTOCOL_ANY: _ClassVar[FirewallProtocol]
    FIREWALL_PROTOCOL_TCP: _ClassVar[FirewallProtocol]
    FIREWALL_PROTOCOL_UDP: _ClassVar[FirewallProtocol]
    FIREWALL_PROTOCOL_ICMP6: _ClassVar[FirewallProtocol]
FIREWALL_ACTION_UNSPECIFIED: FirewallAction
FIREWALL_ACTION_ACCEPT: FirewallAction
FIREWALL_ACTION_DROP: FirewallAction
FIREWALL_ACTION_REJECT: FirewallAction
FIREWALL_DIRECTION_UNSPECIFIED: FirewallDirection
FIREWALL_DIRECTION_INGRESS: FirewallDirection
FIREWALL_DIRECTION_EGRESS: FirewallDirection
FIREWALL_DIRECTION_BOTH: FirewallDirection
FIREWALL_PROTOCOL_UNSPECIFIED: FirewallProtocol
FIREWALL_PROTOCOL_ANY: FirewallProtocol
FIREWALL_PROTOCOL_TCP: FirewallProtocol
FIREWALL_PROTOCOL_UDP: FirewallProtocol
FIREWALL_PROTOCOL_ICMP6: FirewallProtocol

class FirewallPolicy(_message.Message):
    __slots__ = ("ingress", "egress")
    INGRESS_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    ingress: FirewallAction
    egress: FirewallAction
    def __init__(self, ingress: _Optional[_Union[FirewallAction, str]] = ..., egress: _Optional[_Union[FirewallAction, str]] = ...) -> None: ...

class PortRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class FirewallSelector(_message.Message):
    __slots__ = ("peer_id", "tag_id", "cidr", "all", "peer_prefixes")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    TAG_ID_FIELD_NUMBER: _ClassVar[int]
    CIDR_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    PEER_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    tag_id: str
    cidr: str
    all: bool
    peer_prefixes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, peer_id: _Optional[str] = ..., tag_id: _Optional[str] = ..., cidr: _Optional[str] = ..., all: _Optional[bool] = ..., peer_prefixes: _Optional[_Iterable[str]] = ...) -> None: ...

class FirewallRule(_message.Message):
    __slots__ = ("id", "network_id", "direction", "action", "selector", "protocol", "port_range", "priority", "created_at_ms", "destination_prefixes", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_RANGE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    direction: FirewallDirection
    action: FirewallAction
    selector: FirewallSelector
    protocol: FirewallProtocol
    port_range: PortRange
    priority: int
    created_at_ms: int
    destination_prefixes: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., direction: _Optional[_Union[FirewallDirection, str]] = ..., action: _Optional[_Union[FirewallAction, str]] = ..., selector: _Optional[_Union[FirewallSelector, _Mapping]] = ..., protocol: _Optional[_Union[FirewallProtocol, str]] = ..., port_range: _Optional[_Union[PortRange, _Mapping]] = ..., priority: _Optional[int] = ..., created_at_ms: _Optional[int] = ..., destination_prefixes: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class FirewallTag(_message.Message):
    __slots__ = ("id", "network_id", "name", "members", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    name: str
    members: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., name: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class TagMembership(_message.Message):
    __slots__ = ("tag_id", "joined", "left", "version")
    TAG_ID_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    tag_id: str
    joined: _containers.RepeatedScalarFieldContainer[str]
    left: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, tag_id: _Optional[str] = ..., joined: _Optional[_Iterable[str]] = ..., left: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...
