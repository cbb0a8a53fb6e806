"""Who this node is to the platform: certificate, key, trusted certificates, id and address.

All of it is one file, so that a crash in the middle of a renewal can never leave a certificate beside
the key of another.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from powernode_agent.model.identity import Identity
from powernode_agent.model.values import NodeId
from powernode_agent.store import files
from powernode_agent.store.files import StoreError

_LABEL: Final = "identity"
_FILE_NAME: Final = "identity"


class IdentityStore:
    """One file in a directory. Blocks for the disk: call it from a worker thread."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE_NAME

    def save(self, identity: Identity) -> None:
        """Replaces the identity as one; raises `StoreError`, and then the old one stays."""
        files.save(self._path, _LABEL, json.dumps(asdict(identity)).encode())

    def load(self) -> Identity | None:
        """The identity; None: not enrolled. Raises `StoreError` for a file not to be trusted."""
        stored = files.load(self._path, _LABEL)
        if stored is None:
            return None
        try:
            content = json.loads(stored)
        except ValueError:
            # `from None`: the error would quote the key.
            raise self._unknown() from None
        names = {each.name for each in fields(Identity)}
        if (
            not isinstance(content, dict)
            or set(content) != names
            or not all(isinstance(value, str) for value in content.values())
        ):
            raise self._unknown()
        return Identity(
            node_id=NodeId(content["node_id"]),
            certificate_pem=content["certificate_pem"],
            key_pem=content["key_pem"],
            ca_pem=content["ca_pem"],
            platform_address=content["platform_address"],
        )

    def _unknown(self) -> StoreError:
        return StoreError(
            "the stored identity is of another version of powernode-agent",
            which=str(self._path),
            action=f"delete {self._path} and run powernode-agent enrol",
        )
