"""A platform on loopback, and an identity that it issued."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from link_platform import NODE, Authority, FakePlatform

from powernode_agent.model.values import NodeId
from powernode_agent.platform.credentials import make_key
from powernode_agent.platform.identity import Identity


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def platform(authority: Authority) -> AsyncIterator[FakePlatform]:
    running = FakePlatform(authority)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def identity(platform: FakePlatform) -> Identity:
    pair = make_key()
    return Identity(
        node_id=NodeId(NODE),
        certificate_pem=platform.authority.issue(pair.csr_pem, NODE),
        key_pem=pair.key_pem,
        ca_pem=platform.authority.pem,
        platform_address=platform.address,
    )
