"""The last accepted desired state, so that a node has its overlay after a reboot without a platform.

It holds keys, so it is as private as they are. What is not exactly what was written is refused, and the
node waits for the platform: a half-read state would be an order to remove peers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from powernode_agent.store import files

_LABEL: Final = "last-known-good state"


class LastKnownGood:
    """One file. Blocks for the disk: call it from a worker thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, state: bytes) -> None:
        """Replaces what is stored; raises `StoreError`, and then the old content stays."""
        files.save(self._path, _LABEL, state)

    def load(self) -> bytes | None:
        """What was saved last; None: nothing yet. Raises `StoreError` for a file not to be trusted."""
        return files.load(self._path, _LABEL)

    def forget(self) -> bool:
        """Removes what is stored; whether there was anything. Raises `StoreError`."""
        return files.remove(self._path, _LABEL)
