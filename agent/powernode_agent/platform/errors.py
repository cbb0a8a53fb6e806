"""What can go wrong between a node and its platform, and what an operator can do about each.

gRPC gives a status code and a sentence; `explain` turns the pair into the one error whose action helps.
A pure function, so that each row of that table has a test. The platform's own words are kept, cut and
made printable: they come from the other side of the wire.
"""

from __future__ import annotations

from typing import Final

import grpc

from powernode_agent.errors import AgentError

MAX_DETAIL_LENGTH: Final = 200

ENROL_COMMAND: Final = "powernode-agent enrol"


class PlatformError(AgentError):
    """Base of all errors of the link to the platform."""


class PlatformUnavailableError(PlatformError):
    """Nobody answers; passes by itself."""


class PlatformUntrustedError(PlatformError):
    """Whoever answers is not the platform this node trusts."""


class IdentityRefusedError(PlatformError):
    """The platform does not accept this node's certificate."""


class IdentityExpiredError(PlatformError):
    """This node's certificate is out of date, and there is no token for another."""


class IdentityMissingError(PlatformError):
    """This node has never been enrolled, and there is no token."""


class PermissionRefusedError(PlatformError):
    """The platform knows this node and refuses it."""


class EnrolmentRefusedError(PlatformError):
    """The token was not accepted; the same token will never be."""


class CredentialsError(PlatformError):
    """A certificate or key that is malformed, or does not belong to the other."""


class OversizeMessageError(PlatformError):
    """A message above the limit of the contract."""


class ContractError(PlatformError):
    """The platform broke the contract, or speaks another version of it."""


class DesiredStateFileError(PlatformError):
    """The desired-state file cannot be read."""


def explain(code: grpc.StatusCode, details: str | None, address: str) -> PlatformError:
    """The error for a call to the platform at `address` that ended with `code` and `details`."""
    said = printable(details or "")
    which = f"platform {address}"
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return IdentityRefusedError(
            "the platform does not accept this node's certificate",
            which=which,
            value=said,
            action=f"get a new token from the platform and run `{ENROL_COMMAND}`",
        )
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionRefusedError(
            "the platform refuses this node",
            which=which,
            value=said,
            action="ask the platform's operator whether the node was removed; if it was, "
            "`powernode-agent purge` takes its data plane down",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ContractError(
            "the platform does not know this call",
            which=which,
            value=said,
            action="check that the address is the platform's, and that it is as new as the agent",
        )
    if is_oversize(code, details):
        return OversizeMessageError(
            "a message from the platform is too large",
            which=which,
            value=said,
            expected="at most 4 MiB a message",
            action="have the platform send it in chunks",
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable((details or "").lower(), said, which)
    return PlatformUnavailableError(
        f"the platform failed ({code.name})",
        which=which,
        value=said,
        action="look at the platform's log; the agent keeps trying",
    )


def _unavailable(lowered: str, said: str, which: str) -> PlatformError:
    """TLS failures come as UNAVAILABLE too: only the text tells them from a dead platform."""
    if "certificate_verify_failed" in lowered or "hostname verification" in lowered:
        return PlatformUntrustedError(
            "the certificate that the platform shows is not one this node trusts",
            which=which,
            value=said,
            action="check the address and ca_file in agent.toml, and the node's clock",
        )
    if "peer name" in lowered and "not in peer certificate" in lowered:
        return PlatformUntrustedError(
            "the platform's certificate is for another name",
            which=which,
            value=said,
            action="use the name that stands in the platform's certificate",
        )
    if "alert" in lowered and ("certificate" in lowered or "unknown_ca" in lowered):
        return IdentityRefusedError(
            "the platform does not accept this node's certificate",
            which=which,
            value=said,
            action="check the node's clock; if it is right, get a new token from the platform "
            f"and run `{ENROL_COMMAND}`",
        )
    if "socket closed" in lowered or "connection reset" in lowered:
        # In TLS 1.3 the client is done before the server has looked at its certificate: a refusal
        # arrives as a closed connection, just like a restart does. Only time tells them apart.
        return PlatformUnavailableError(
            "the platform closed the connection",
            which=which,
            value=said,
            action="the agent keeps trying; if it lasts, the platform may not accept this node's "
            f"certificate: get a new token from it and run `{ENROL_COMMAND}`",
        )
    return PlatformUnavailableError(
        "the platform does not answer",
        which=which,
        value=said,
        action="check that this node reaches that address; the agent keeps trying",
    )


def is_oversize(code: grpc.StatusCode, details: str | None) -> bool:
    """Whether our own limit refused a message (as opposed to a quota of the platform's)."""
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED and "received message larger" in (
        (details or "").lower()
    )


def printable(text: str) -> str:
    """`text` from the other side, safe to show: one line, no control characters, bounded."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= MAX_DETAIL_LENGTH else clean[: MAX_DETAIL_LENGTH - 1] + "…"
