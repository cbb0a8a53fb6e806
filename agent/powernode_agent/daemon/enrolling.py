"""Enrolment as the command line and the daemon do it: token in, identity on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from powernode_agent import __version__
from powernode_agent.config import Settings
from powernode_agent.control.documents import enrol_document
from powernode_agent.control.protocol import JSON
from powernode_agent.daemon.assembly import identity_store
from powernode_agent.errors import AgentError
from powernode_agent.platform.credentials import validity
from powernode_agent.platform.enrolment import EnrolmentPoint
from powernode_agent.platform.enrolment import enrol as enrol_with
from powernode_agent.platform.identity import Identity, IdentityFile, Token

MAX_TOKEN_FILE: Final = 4096


class EnrolmentNotConfiguredError(AgentError):
    """The configuration does not say where to enrol."""


class EnrolmentFileError(AgentError):
    """The token or the CA is there and cannot be read."""


async def enrol(settings: Settings, token: str) -> Mapping[str, JSON]:
    """Enrol without a running daemon; the identity is on disk afterwards."""
    return await enrol_identity(settings, identity_store(settings), token)


async def enrol_identity(
    settings: Settings, identities: IdentityFile, token: str
) -> Mapping[str, JSON]:
    """Turn `token` into an identity and store it. Raises `AgentError`; the old one then stays."""
    point = enrolment_point(settings)
    if point is None:
        raise EnrolmentNotConfiguredError(
            "nothing says where to enrol",
            which="[platform] enrolment_address",
            expected='"host:port"',
            action=f"set it in {settings.file or '/etc/powernode-agent/agent.toml'}",
        )
    identity = await enrol_with(
        Token(token), point.address, point.ca_pem(), agent_version=__version__
    )
    identities.save(identity)
    return enrol_document(
        identity.node_id,
        identity.platform_address,
        validity(identity.certificate_pem).not_after,
    )


def enrolled(identities: IdentityFile) -> Identity | None:
    """The stored identity; None where there is none or it is damaged, which the source reports."""
    try:
        return identities.load()
    except AgentError:
        return None


def enrolment_point(settings: Settings) -> EnrolmentPoint | None:
    """Where to enrol, if the settings say so."""
    platform = settings.platform
    if platform.enrolment_address is None:
        return None

    def token() -> Token | None:
        text = _read(platform.token_file, "the enrolment token")[:MAX_TOKEN_FILE].strip()
        return Token(text) if text else None

    def authority() -> str | None:
        return _read(platform.ca_file, "the platform's CA") or None

    return EnrolmentPoint(str(platform.enrolment_address), authority, token)


def _read(path: Path, what: str) -> str:
    """The text of a file; empty if there is none. Read anew each time: an operator may put it there
    while the daemon runs. Raises `EnrolmentFileError`, with nothing of its content."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise EnrolmentFileError(
            f"cannot read {what}",
            which=str(path),
            value=reason or type(error).__name__,
            expected="a text file that the agent's user may read",
            action=f"ls -l {path}; systemd-tmpfiles --create powernode-agent.conf",
        ) from None
