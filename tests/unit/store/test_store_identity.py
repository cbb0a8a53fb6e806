"""The identity is one: certificate and key can never mismatch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from powernode_agent.model.identity import Identity
from powernode_agent.model.values import NodeId
from powernode_agent.store import files
from powernode_agent.store.files import StoreError
from powernode_agent.store.identity import IdentityStore

IDENTITY = Identity(
    node_id=NodeId("node-1"),
    certificate_pem="certificate 1",
    key_pem="SECRET",
    ca_pem="ca",
    platform_address="platform.example:443",
)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    assert store.load() is None
    store.save(IDENTITY)
    assert IdentityStore(tmp_path).load() == IDENTITY
    renewed = replace(IDENTITY, certificate_pem="certificate 2", key_pem="SECRET 2")
    store.save(renewed)
    assert store.load() == renewed
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_is_not_shown() -> None:
    assert "SECRET" not in repr(IDENTITY)
    assert "SECRET" not in f"{IDENTITY}"


@pytest.mark.parametrize(
    "content",
    [b"not json SECRET", b"[]", b"{}", b'{"node_id": 1}', b"\xff", b'{"key_pem": "SECRET"}'],
)
def test_another_versions_content_is_refused(tmp_path: Path, content: bytes) -> None:
    files.save(tmp_path / "identity", "identity", content)
    with pytest.raises(StoreError) as caught:
        IdentityStore(tmp_path).load()
    assert "powernode-agent enrol" in caught.value.action
    assert "SECRET" not in str(caught.value)
