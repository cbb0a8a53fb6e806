"""Enrolment against a real gRPC server, and what its failures say."""

from __future__ import annotations

import pytest
from link_platform import Authority, FakePlatform
from structlog.testing import capture_logs

from powernode_agent.platform.credentials import KeyAndRequest, make_key, validity
from powernode_agent.platform.enrolment import enrol
from powernode_agent.platform.errors import (
    CredentialsError,
    EnrolmentRefusedError,
    PlatformUnavailableError,
    PlatformUntrustedError,
)
from powernode_agent.platform.identity import Identity, Token


async def _enrol(platform: FakePlatform, ca: str = "") -> Identity:
    return await enrol(
        Token("good-token"),
        platform.enrolment_address,
        ca or platform.authority.pem,
        agent_version="1",
        timeout=5.0,
    )


async def test_gives_an_identity_that_shows_no_secret(platform: FakePlatform) -> None:
    with capture_logs() as logs:
        identity = await _enrol(platform)
    assert identity.node_id == "node-1"
    assert identity.platform_address == platform.address
    assert validity(identity.certificate_pem).life == pytest.approx(3600, abs=2)
    shown = repr(identity) + repr(logs)
    assert "PRIVATE KEY" not in shown
    assert "good-token" not in shown
    assert [entry["event"] for entry in logs] == ["enrolment.done"]


async def test_token_works_once_and_the_error_hides_it(platform: FakePlatform) -> None:
    await _enrol(platform)
    with pytest.raises(EnrolmentRefusedError) as raised:
        await _enrol(platform)
    assert "good-token" not in str(raised.value)
    assert "new token" in str(raised.value)


async def test_wrong_ca_never_sees_the_token(platform: FakePlatform) -> None:
    with pytest.raises(PlatformUntrustedError):
        await _enrol(platform, ca=Authority("other").pem)
    assert platform.tokens == {"good-token"}


async def test_nobody_there(platform: FakePlatform) -> None:
    await platform.stop()
    with pytest.raises(PlatformUnavailableError):
        await _enrol(platform)


async def test_certificate_for_another_key_is_refused(platform: FakePlatform) -> None:
    def mixed_up() -> KeyAndRequest:
        return KeyAndRequest(make_key().key_pem, make_key().csr_pem)

    with pytest.raises(CredentialsError, match="another key"):
        await enrol(
            Token("good-token"),
            platform.enrolment_address,
            platform.authority.pem,
            agent_version="1",
            new_key=mixed_up,
        )


def test_token_shows_itself_nowhere() -> None:
    token = Token("s3cret")
    assert "s3cret" not in f"{token} {token!r} {[token]}"
    assert token.reveal() == "s3cret"
