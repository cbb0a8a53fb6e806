from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PortMappingProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PORT_MAPPING_PROTOCOL_UNSPECIFIED: _ClassVar[PortMappingProtocol]
    PORT_MAPPING_PROTOCOL_TCP: _ClassVar[PortMappingProtocol]
    PORT_MAPPING_PROTOCOL_UDP: _ClassVar[PortMappingProtocol]
PORT_MAPPING_PROTOCOL_UNSPECIFIED: PortMappingProtocol
PORT_MAPPING_PROTOCOL_TCP: PortMappingProtocol
PORT_MAPPING_PROTOCOL_UDP: PortMappingProtocol

class PortMapping(_message.Message):
    __slots__ = ("id", "network_id", "external_address", "external_port", "protocol", "internal_address", "internal_port", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_PORT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    external_address: str
    external_port: int
    protocol: PortMappingProtocol
    internal_address: str
    internal_port: int
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., external_address: _Optional[str] = ..., external_port: _Optional[int] = ..., protocol: _Optional[_Union[PortMappingProtocol, str]] = ..., internal_address: _Optional[str] = ..., internal_port: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...
