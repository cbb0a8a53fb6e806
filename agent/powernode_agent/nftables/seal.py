"""How a restarted agent knows that the table is still the one it wrote, without writing it again.

What the kernel tells of the table cannot be compared with what was written: it has its own words. But
it tells of the same table in the same words each time, so the digest of what it told after our last
write, kept with the digest of what we wrote, tells both whether somebody changed the table and whether
it is what is wanted now. Without a seal, or with one that does not fit, the table is replaced, which
costs no packet.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from powernode_agent.nftables.errors import NftablesError


@dataclass(frozen=True, slots=True)
class Seal:
    """Digests of the script that makes the table, and of what then stands (`inventory`)."""

    written: str
    found: str


def digest(text: str) -> str:
    """Of a script."""
    return sha256(text.encode()).hexdigest()


class SealFile:
    """The seal on disk. Nothing is secret in it, and a wrong one costs a transaction, no more."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Seal | None:
        """The seal; None: there is none that can be read."""
        try:
            found = json.loads(self._path.read_text())
            return Seal(str(found["written"]), str(found["found"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, seal: Seal) -> None:
        """Replaced as one. Raises `NftablesError`."""
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(asdict(seal)))
            draft.replace(self._path)
        except OSError as error:
            raise NftablesError(
                "cannot note what the table looks like",
                which=str(self._path),
                value=error.strerror or str(error),
                action="make the state directory writable for the agent",
            ) from error

    def forget(self) -> None:
        """As if there had never been one."""
        self._path.unlink(missing_ok=True)
