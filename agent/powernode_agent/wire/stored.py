"""The last-known-good file's content -> message. The store has checked that the bytes are ours."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from powernode.sdwan.v1 import desired_state_pb2 as state_pb
from powernode_agent.model.violation import ModelError, violation

DesiredStateMessage = state_pb.DesiredState
"""The message, by a name that does not need the stubs."""


def parse_stored(content: bytes) -> state_pb.DesiredState:
    """The stored state. Raises `ModelError` for bytes that are no message: another version's."""
    message = state_pb.DesiredState()
    try:
        message.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            [
                violation(
                    "last-known-good state", "content", f"{len(content)} bytes", "a DesiredState"
                )
            ]
        ) from None
    return message
