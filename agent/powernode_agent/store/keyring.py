"""Private keys that the node made itself (key_source: node), by network and generation.

They never leave the node, so a lost one cannot be fetched again: a damaged file is refused, never
replaced by a new key, because every peer would then drop this node without anybody knowing why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from powernode_agent.model.keys import make_private_key
from powernode_agent.model.values import ID_PATTERN, NetworkId, PrivateKey
from powernode_agent.store import files
from powernode_agent.store.files import StoreError

# The network's id stands inside, so "." and ".." are no file names of their own; the generation is
# what is between the last two dots, so ids with dots and digits are unambiguous.
_NAME: Final = re.compile(r"network-(?P<network>.+)\.(?P<generation>[1-9][0-9]*)\.key")


class Keyring:
    """A directory of keys. Blocks for the disk: call it from a worker thread."""

    def __init__(self, directory: Path, randomness: Callable[[int], bytes] = os.urandom) -> None:
        self._directory = directory
        self._randomness = randomness

    def private_key(self, network_id: NetworkId, generation: int) -> PrivateKey:
        """The key of that generation, made and stored if there is none. Raises `StoreError`."""
        path = self._path(network_id, generation)
        label = f"key of network {network_id}, generation {generation}"
        stored = files.load(path, label)
        if stored is not None:
            try:
                return PrivateKey(stored.decode("ascii"))
            except ValueError:
                # `from None`: the error would quote the key.
                raise StoreError(
                    "a stored key is not a WireGuard key", which=f"{label}, {path}"
                ) from None
        newer = [each for each in self.generations(network_id) if each > generation]
        if newer:
            # A new key under an old number would cut the node off: its peers know another one.
            raise StoreError(
                "a key that was rotated away is asked for",
                which=label,
                value=f"generation {generation}",
                expected=f"{newer[0]} or more",
                action="rotate the peer's key on the platform (sdwan_peer_remediate)",
            )
        key = make_private_key(self._randomness(32))
        # On disk before it is used: a key that peers know and a reboot forgets cuts the node off.
        files.save(path, label, key.reveal().encode("ascii"))
        return key

    def generations(self, network_id: NetworkId) -> tuple[int, ...]:
        """Generations there are keys of, lowest first. Raises `StoreError`."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(
                f"cannot list keys: {error.strerror}",
                which=str(self._directory),
                action=f"check the owner and mode of {self._directory}",
            ) from error
        matches = (_NAME.fullmatch(name) for name in names)
        return tuple(
            sorted(int(m["generation"]) for m in matches if m and m["network"] == network_id)
        )

    def forget_before(self, network_id: NetworkId, generation: int) -> None:
        """Deletes the keys of all generations below `generation`. Raises `StoreError`."""
        old = [each for each in self.generations(network_id) if each < generation]
        try:
            for each in old:
                self._path(network_id, each).unlink(missing_ok=True)
            if old:
                files.sync_directory(self._directory)
        except OSError as error:
            raise StoreError(
                f"cannot delete an old key: {error.strerror}",
                which=f"network {network_id}",
                action=f"check the owner and mode of {self._directory}",
            ) from error

    def _path(self, network_id: NetworkId, generation: int) -> Path:
        if not ID_PATTERN.fullmatch(network_id) or generation < 1:
            # The model has checked both; here they become a path, so they are checked again.
            raise ValueError("not a network id and generation")
        return self._directory / f"network-{network_id}.{generation}.key"
