"""From a one-time token to an identity.

The key is made here and never leaves the node. The platform is verified by the CA that the operator
gave; what the platform then names as its CA is what the node trusts from that moment on. The token
is in no log, no error and no argument list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.model.values import NodeId
from powernode_agent.platform import calls
from powernode_agent.platform.channel import enrolment_channel
from powernode_agent.platform.credentials import KeyMaker, check_belongs, make_key
from powernode_agent.platform.errors import (
    ENROL_COMMAND,
    ContractError,
    EnrolmentRefusedError,
    PlatformError,
    explain,
    printable,
)
from powernode_agent.platform.identity import Identity, Token

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EnrolmentPoint:
    """Where to enrol: "host:port" of EnrolmentService, and what gives the CA that proves it (None: the
    system's). `token` reads the token when it is needed, None if there is none: an operator may put
    a new one in place while the agent runs."""

    address: str
    ca_pem: Callable[[], str | None]
    token: Callable[[], Token | None]


async def enrol(
    token: Token,
    address: str,
    ca_pem: str | None,
    *,
    agent_version: str,
    timeout: float = 10.0,
    new_key: KeyMaker = make_key,
) -> Identity:
    """A new identity from EnrolmentService at `address` ("host:port"); `timeout` in seconds.

    Raises `EnrolmentRefusedError` if the token is unknown, used or expired, `CredentialsError` if the
    answer does not belong to our key, and other `PlatformError`s when the platform cannot be reached.
    """
    pair = new_key()
    request = pb.EnrollRequest(
        token=token.reveal(), csr_pem=pair.csr_pem, agent_version=agent_version
    )
    channel = enrolment_channel(address, ca_pem)
    try:
        response = await calls.enroll(channel, request, timeout)
    except grpc.aio.AioRpcError as error:
        raise _refused(error, address, token) from None
    finally:
        await channel.close()
    if not response.node_id or not response.platform_address:
        raise ContractError(
            "the platform's answer to the enrolment is incomplete",
            which=f"platform {address}",
            value="no node_id" if not response.node_id else "no platform_address",
            expected="node_id, certificate_pem, ca_pem and platform_address",
            action="report it to the platform's operator",
        )
    check_belongs(response.certificate_pem, pair.key_pem, response.ca_pem, response.node_id)
    log.info("enrolment.done", node=response.node_id, platform=response.platform_address)
    return Identity(
        node_id=NodeId(response.node_id),
        certificate_pem=response.certificate_pem,
        key_pem=pair.key_pem,
        ca_pem=response.ca_pem,
        platform_address=response.platform_address,
    )


def _refused(error: grpc.aio.AioRpcError, address: str, token: Token) -> PlatformError:
    """Why the enrolment failed; a platform that repeats the token in its words does not leak it."""
    said = (error.details() or "").replace(token.reveal(), "(hidden)")
    which = f"platform {address}"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return EnrolmentRefusedError(
            "the platform does not accept the enrolment token",
            which=which,
            value=printable(said),
            expected="a token that is known, unused and in date",
            action=f"get a new token from the platform, each works once, and run `{ENROL_COMMAND}`",
        )
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return ContractError(
            "the platform refuses the enrolment request",
            which=which,
            value=printable(said),
            action="check that the agent is as new as the platform",
        )
    return explain(error.code(), said, address)
