"""A small note to a later run of the agent: what it has to know of the host and cannot read from it."""

from __future__ import annotations

from pathlib import Path

from powernode_agent.store import files


class Note:
    """One file. `label` says what it is about. Blocks for the disk: call it from a worker thread."""

    def __init__(self, path: Path, label: str) -> None:
        self._path = path
        self._label = label

    def save(self, content: bytes) -> None:
        """Replaces what is noted; raises `StoreError`, and then the old content stays."""
        files.save(self._path, self._label, content)

    def load(self) -> bytes | None:
        """What was noted last; None: nothing. Raises `StoreError` for a file not to be trusted."""
        return files.load(self._path, self._label)

    def forget(self) -> bool:
        """Removes the note; whether there was one. Raises `StoreError`."""
        return files.remove(self._path, self._label)
