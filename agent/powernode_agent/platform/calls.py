"""The calls of agent_service.proto, typed.

Made from the method descriptors instead of the generated `_pb2_grpc` classes: those carry no types, and
refuse to load next to a grpcio older than the one that generated them.
"""

from __future__ import annotations

from typing import TypeVar

import grpc.aio
from google.protobuf.message import Message

from powernode.sdwan.v1 import agent_service_pb2 as pb

WatchCall = grpc.aio.UnaryStreamCall[pb.WatchDesiredStateRequest, pb.WatchDesiredStateResponse]
ReportCall = grpc.aio.StreamUnaryCall[pb.ReportStatusRequest, pb.ReportStatusResponse]

_Request = TypeVar("_Request", bound=Message)


def _path(service: str, method: str) -> str:
    """Path of a method of the contract; KeyError, at import, if the contract has none of that name."""
    descriptor = pb.DESCRIPTOR.services_by_name[service]
    return f"/{descriptor.full_name}/{descriptor.methods_by_name[method].name}"


def _encode(message: _Request) -> bytes:
    return message.SerializeToString()


_ENROLL = _path("EnrolmentService", "Enroll")
_WATCH = _path("AgentService", "WatchDesiredState")
_REPORT = _path("AgentService", "ReportStatus")
_RENEW = _path("AgentService", "RenewCertificate")


async def enroll(
    channel: grpc.aio.Channel, request: pb.EnrollRequest, timeout: float
) -> pb.EnrollResponse:
    """EnrolmentService.Enroll. Raises `grpc.aio.AioRpcError`."""
    call: grpc.aio.UnaryUnaryMultiCallable[pb.EnrollRequest, pb.EnrollResponse]
    call = channel.unary_unary(_ENROLL, _encode, pb.EnrollResponse.FromString)
    return await call(request, timeout=timeout)


async def renew(
    channel: grpc.aio.Channel, request: pb.RenewCertificateRequest, timeout: float
) -> pb.RenewCertificateResponse:
    """AgentService.RenewCertificate. Raises `grpc.aio.AioRpcError`."""
    call: grpc.aio.UnaryUnaryMultiCallable[pb.RenewCertificateRequest, pb.RenewCertificateResponse]
    call = channel.unary_unary(_RENEW, _encode, pb.RenewCertificateResponse.FromString)
    return await call(request, timeout=timeout)


def watch(channel: grpc.aio.Channel, request: pb.WatchDesiredStateRequest) -> WatchCall:
    """Starts AgentService.WatchDesiredState."""
    call: grpc.aio.UnaryStreamMultiCallable[
        pb.WatchDesiredStateRequest, pb.WatchDesiredStateResponse
    ]
    call = channel.unary_stream(_WATCH, _encode, pb.WatchDesiredStateResponse.FromString)
    return call(request)


def report(channel: grpc.aio.Channel) -> ReportCall:
    """Starts AgentService.ReportStatus."""
    call: grpc.aio.StreamUnaryMultiCallable[pb.ReportStatusRequest, pb.ReportStatusResponse]
    call = channel.stream_unary(_REPORT, _encode, pb.ReportStatusResponse.FromString)
    return call()
