from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class VirtualIp(_message.Message):
    __slots__ = ("id", "network_id", "name", "address", "hold", "anycast", "local_preference", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    ANYCAST_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    network_id: str
    name: str
    address: str
    hold: bool
    anycast: bool
    local_preference: int
    version: int
    def __init__(self, id: _Optional[str] = ..., network_id: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., hold: _Optional[bool] = ..., anycast: _Optional[bool] = ..., local_preference: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...
