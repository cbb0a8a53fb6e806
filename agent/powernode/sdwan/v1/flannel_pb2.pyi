from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class K3sRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    K3S_ROLE_UNSPECIFIED: _ClassVar[K3sRole]
    K3S_ROLE_SERVER: _ClassVar[K3sRole]
    K3S_ROLE_AGENT: _ClassVar[K3sRole]
K3S_ROLE_UNSPECIFIED: K3sRole
K3S_ROLE_SERVER: K3sRole
K3S_ROLE_AGENT: K3sRole

class FlannelBootstrap(_message.Message):
    __slots__ = ("id", "network_id", "role", "flannel_iface", "flannel_backend", "cluster_cidr", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FLANNEL_IFACE_FIELD_NUMBER: _ClassVar[int]
    FLANNEL_BACKEND_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_CIDR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    role: K3sRole
    flannel_iface: str
    flannel_backend: str
    cluster_cidr: str
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., role: _Optional[_Union[K3sRole, str]] = ..., flannel_iface: _Optional[str] = ..., flannel_backend: _Optional[str] = ..., cluster_cidr: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...
