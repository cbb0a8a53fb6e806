from powernode.sdwan.v1 import desired_state_pb2 as _desired_state_pb2
from powernode.sdwan.v1 import firewall_pb2 as _firewall_pb2
from powernode.sdwan.v1 import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResourceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESOURCE_KIND_UNSPECIFIED: _ClassVar[ResourceKind]
    RESOURCE_KIND_NODE: _ClassVar[ResourceKind]
    RESOURCE_KIND_NETWORK: _ClassVar[ResourceKind]
    RESOURCE_KIND_PEER: _ClassVar[ResourceKind]
    RESOURCE_KIND_PATH: _ClassVar[ResourceKind]
    RESOURCE_KIND_VIRTUAL_IP: _ClassVar[ResourceKind]
    RESOURCE_KIND_FIREWALL_TAG: _ClassVar[ResourceKind]
    RESOURCE_KIND_FIREWALL_RULE: _ClassVar[ResourceKind]
    RESOURCE_KIND_PORT_MAPPING: _ClassVar[ResourceKind]
    RESOURCE_KIND_BGP_INSTANCE: _ClassVar[ResourceKind]
    RESOURCE_KIND_ROUTE_POLICY: _ClassVar[ResourceKind]
    RESOURCE_KIND_FLANNEL_BOOTSTRAP: _ClassVar[ResourceKind]
RESOURCE_KIND_UNSPECIFIED: ResourceKind
RESOURCE_KIND_NODE: ResourceKind
RESOURCE_KIND_NETWORK: ResourceKind
RESOURCE_KIND_PEER: ResourceKind
RESOURCE_KIND_PATH: ResourceKind
RESOURCE_KIND_VIRTUAL_IP: ResourceKind
RESOURCE_KIND_FIREWALL_TAG: ResourceKind
RESOURCE_KIND_FIREWALL_RULE: ResourceKind
RESOURCE_KIND_PORT_MAPPING: ResourceKind
RESOURCE_KIND_BGP_INSTANCE: ResourceKind
RESOURCE_KIND_ROUTE_POLICY: ResourceKind
RESOURCE_KIND_FLANNEL_BOOTSTRAP: ResourceKind

class EnrollRequest(_message.Message):
    __slots__ = ("token", "csr_pem", "agent_version")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    token: str
    csr_pem: str
    agent_version: str
    def __init__(self, token: _Optional[str] = ..., csr_pem: _Optional[str] = ..., agent_version: _Optional[str] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("node_id", "certificate_pem", "ca_pem", "platform_address")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    certificate_pem: str
    ca_pem: str
    platform_address: str
    def __init__(self, node_id: _Optional[str] = ..., certificate_pem: _Optional[str] = ..., ca_pem: _Optional[str] = ..., platform_address: _Optional[str] = ...) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("csr_pem",)
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    csr_pem: str
    def __init__(self, csr_pem: _Optional[str] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("certificate_pem", "ca_pem")
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    certificate_pem: str
    ca_pem: str
    def __init__(self, certificate_pem: _Optional[str] = ..., ca_pem: _Optional[str] = ...) -> None: ...

class WatchDesiredStateRequest(_message.Message):
    __slots__ = ("have_revision", "have_digest", "agent_version")
    HAVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    HAVE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    have_revision: int
    have_digest: bytes
    agent_version: str
    def __init__(self, have_revision: _Optional[int] = ..., have_digest: _Optional[bytes] = ..., agent_version: _Optional[str] = ...) -> None: ...

class WatchDesiredStateResponse(_message.Message):
    __slots__ = ("snapshot", "delta", "up_to_date")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    UP_TO_DATE_FIELD_NUMBER: _ClassVar[int]
    snapshot: SnapshotChunk
    delta: Delta
    up_to_date: UpToDate
    def __init__(self, snapshot: _Optional[_Union[SnapshotChunk, _Mapping]] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., up_to_date: _Optional[_Union[UpToDate, _Mapping]] = ...) -> None: ...

class UpToDate(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("index", "count", "part", "digest")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    index: int
    count: int
    part: _desired_state_pb2.DesiredState
    digest: bytes
    def __init__(self, index: _Optional[int] = ..., count: _Optional[int] = ..., part: _Optional[_Union[_desired_state_pb2.DesiredState, _Mapping]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class ResourceRef(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: ResourceKind
    id: str
    def __init__(self, kind: _Optional[_Union[ResourceKind, str]] = ..., id: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("base_revision", "removed", "upserts", "tag_memberships", "digest")
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    UPSERTS_FIELD_NUMBER: _ClassVar[int]
    TAG_MEMBERSHIPS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    base_revision: int
    removed: _containers.RepeatedCompositeFieldContainer[ResourceRef]
    upserts: _desired_state_pb2.DesiredState
    tag_memberships: _containers.RepeatedCompositeFieldContainer[_firewall_pb2.TagMembership]
    digest: bytes
    def __init__(self, base_revision: _Optional[int] = ..., removed: _Optional[_Iterable[_Union[ResourceRef, _Mapping]]] = ..., upserts: _Optional[_Union[_desired_state_pb2.DesiredState, _Mapping]] = ..., tag_memberships: _Optional[_Iterable[_Union[_firewall_pb2.TagMembership, _Mapping]]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class ReportStatusRequest(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: _status_pb2.StatusReport
    def __init__(self, report: _Optional[_Union[_status_pb2.StatusReport, _Mapping]] = ...) -> None: ...

class ReportStatusResponse(_message.Message):
    __slots__ = ("reports",)
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: int
    def __init__(self, reports: _Optional[int] = ...) -> None: ...
