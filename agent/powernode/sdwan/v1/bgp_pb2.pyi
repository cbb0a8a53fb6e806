from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoutePolicyDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_POLICY_DIRECTION_UNSPECIFIED: _ClassVar[RoutePolicyDirection]
    ROUTE_POLICY_DIRECTION_IMPORT: _ClassVar[RoutePolicyDirection]
    ROUTE_POLICY_DIRECTION_EXPORT: _ClassVar[RoutePolicyDirection]

class RoutePolicyAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_POLICY_ACTION_UNSPECIFIED: _ClassVar[RoutePolicyAction]
    ROUTE_POLICY_ACTION_PERMIT: _ClassVar[RoutePolicyAction]
    ROUTE_POLICY_ACTION_DENY: _ClassVar[RoutePolicyAction]
ROUTE_POLICY_DIRECTION_UNSPECIFIED: RoutePolicyDirection
ROUTE_POLICY_DIRECTION_IMPORT: RoutePolicyDirection
ROUTE_POLICY_DIRECTION_EXPORT: RoutePolicyDirection
ROUTE_POLICY_ACTION_UNSPECIFIED: RoutePolicyAction
ROUTE_POLICY_ACTION_PERMIT: RoutePolicyAction
ROUTE_POLICY_ACTION_DENY: RoutePolicyAction

class BgpInstance(_message.Message):
    __slots__ = ("id", "network_id", "as_number", "router_id", "route_reflector", "cluster_id", "neighbors", "advertisements", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    AS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROUTER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUTE_REFLECTOR_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    ADVERTISEMENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    as_number: int
    router_id: str
    route_reflector: bool
    cluster_id: str
    neighbors: _containers.RepeatedCompositeFieldContainer[BgpNeighbor]
    advertisements: _containers.RepeatedCompositeFieldContainer[SubnetAdvertisement]
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., as_number: _Optional[int] = ..., router_id: _Optional[str] = ..., route_reflector: _Optional[bool] = ..., cluster_id: _Optional[str] = ..., neighbors: _Optional[_Iterable[_Union[BgpNeighbor, _Mapping]]] = ..., advertisements: _Optional[_Iterable[_Union[SubnetAdvertisement, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class BgpNeighbor(_message.Message):
    __slots__ = ("peer_id", "route_reflector_client", "passive", "bfd_interval_ms")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUTE_REFLECTOR_CLIENT_FIELD_NUMBER: _ClassVar[int]
    PASSIVE_FIELD_NUMBER: _ClassVar[int]
    BFD_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    route_reflector_client: bool
    passive: bool
    bfd_interval_ms: int
    def __init__(self, peer_id: _Optional[str] = ..., route_reflector_client: _Optional[bool] = ..., passive: _Optional[bool] = ..., bfd_interval_ms: _Optional[int] = ...) -> None: ...

class SubnetAdvertisement(_message.Message):
    __slots__ = ("prefix", "description")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    description: str
    def __init__(self, prefix: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class RoutePolicy(_message.Message):
    __slots__ = ("id", "network_id", "name", "direction", "statements", "priority", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    name: str
    direction: RoutePolicyDirection
    statements: _containers.RepeatedCompositeFieldContainer[RoutePolicyStatement]
    priority: int
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., name: _Optional[str] = ..., direction: _Optional[_Union[RoutePolicyDirection, str]] = ..., statements: _Optional[_Iterable[_Union[RoutePolicyStatement, _Mapping]]] = ..., priority: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class RoutePolicyStatement(_message.Message):
    __slots__ = ("seq", "match", "set", "action")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    seq: int
    match: RoutePolicyMatch
    set: RoutePolicySet
    action: RoutePolicyAction
    def __init__(self, seq: _Optional[int] = ..., match: _Optional[_Union[RoutePolicyMatch, _Mapping]] = ..., set: _Optional[_Union[RoutePolicySet, _Mapping]] = ..., action: _Optional[_Union[RoutePolicyAction, str]] = ...) -> None: ...

class RoutePolicyMatch(_message.Message):
    __slots__ = ("prefix", "ge", "le", "peer_id", "community", "as_path")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    GE_FIELD_NUMBER: _ClassVar[int]
    LE_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    COMMUNITY_FIELD_NUMBER: _ClassVar[int]
    AS_PATH_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    ge: int
    le: int
    peer_id: str
    community: str
    as_path: str
    def __init__(self, prefix: _Optional[str] = ..., ge: _Optional[int] = ..., le: _Optional[int] = ..., peer_id: _Optional[str] = ..., community: _Optional[str] = ..., as_path: _Optional[str] = ...) -> None: ...

class RoutePolicySet(_message.Message):
    __slots__ = ("local_pref", "med", "communities", "communities_additive", "as_path_prepend")
    LOCAL_PREF_FIELD_NUMBER: _ClassVar[int]
    MED_FIELD_NUMBER: _ClassVar[int]
    COMMUNITIES_FIELD_NUMBER: _ClassVar[int]
    COMMUNITIES_ADDITIVE_FIELD_NUMBER: _ClassVar[int]
    AS_PATH_PREPEND_FIELD_NUMBER: _ClassVar[int]
    local_pref: int
    med: int
    communities: _containers.RepeatedScalarFieldContainer[str]
    communities_additive: bool
    as_path_prepend: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, local_pref: _Optional[int] = ..., med: _Optional[int] = ..., communities: _Optional[_Iterable[str]] = ..., communities_additive: _Optional[bool] = ..., as_path_prepend: _Optional[_Iterable[int]] = ...) -> None: ...
