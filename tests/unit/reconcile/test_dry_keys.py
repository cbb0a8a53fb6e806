"""Keys of a dry run leave no trace."""

from __future__ import annotations

from pathlib import Path

from powernode_agent.model.values import NetworkId
from powernode_agent.reconcile.keys import DryKeys
from powernode_agent.store.keyring import Keyring

CORE = NetworkId("core")


def test_a_dry_run_uses_the_keys_there_are_and_makes_none(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keys")
    dry = DryKeys(keyring)
    assert dry.private_key(CORE, 1) != dry.private_key(CORE, 1), "nobody keeps it"
    assert not (tmp_path / "keys").exists()
    made = keyring.private_key(CORE, 1)
    assert dry.private_key(CORE, 1) == made
    dry.private_key(CORE, 2)
    assert dry.generations(CORE) == (1,)
