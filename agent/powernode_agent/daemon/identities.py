"""The stored identity, and until when it is good: whoever reads or replaces it passes by here.

The certificate's end is a metric, so that somebody is told before a node falls off the platform; the
part that renews it is deep in the link and knows nothing of metrics.
"""

from __future__ import annotations

from powernode_agent.model.values import NodeId
from powernode_agent.platform.credentials import validity
from powernode_agent.platform.identity import Identity, IdentityFile


class NotedIdentities:
    """An `IdentityFile` that remembers whose the identity last seen is, and when it ends."""

    def __init__(self, file: IdentityFile) -> None:
        self._file = file
        self.expires_at: float | None = None
        """Seconds since the epoch; None: no certificate was seen."""
        self.platform_address = ""
        """Where the platform said that it is; empty: no identity was seen."""
        self.node_id: NodeId | None = None
        """Who the node is by the identity last seen; it may be enrolled anew under another id."""

    def load(self) -> Identity | None:
        """See `IdentityFile`."""
        identity = self._file.load()
        if identity is not None:
            self._note(identity)
        return identity

    def save(self, identity: Identity) -> None:
        """See `IdentityFile`."""
        self._file.save(identity)
        self._note(identity)

    def _note(self, identity: Identity) -> None:
        self.expires_at = validity(identity.certificate_pem).not_after
        self.node_id = identity.node_id
        self.platform_address = identity.platform_address
