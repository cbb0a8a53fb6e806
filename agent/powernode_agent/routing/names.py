"""Names of what we make in FRR. Pure.

What belongs to one network is `pn.<handle>.<what>`: a handle has no dots, so no two can meet. What
several may share is `pn-<kind>.<digest of its content>`: equal content is one object, and changed
content is a new one that is complete before anything refers to it and gone after nothing does, so that
no half-changed filter is ever in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from powernode_agent.model.network import Network
from powernode_agent.model.values import NetworkId

MARKS: Final = "pn-marks"
"""The list that any mark of ours matches."""
MARK_ADMINISTRATOR: Final = 2**32 - 1
"""Reserved (RFC 8092); operators' communities cannot have it (`model.route_policy`)."""
NOTHING: Final = "pn-nothing"
"""The prefix list that refuses everything."""
VIRTUAL_IPS: Final = "pn-virtual-ips"


def of_network(network: Network, *what: str) -> str:
    """The name of something of one network."""
    return ".".join(("pn", network.handle, *what))


def of_content(kind: str, content: Iterable[str]) -> str:
    """The name of something that is what it contains."""
    return f"pn-{kind}.{sha256(chr(10).join(content).encode()).hexdigest()[:12]}"


def mark_of(network: NetworkId) -> str:
    """The large community that a network's routes carry inside this host. The same on every node, so
    that configurations can be compared; but never trusted when it comes from outside."""
    digest = sha256(network.encode()).digest()
    first, second = int.from_bytes(digest[:4]), int.from_bytes(digest[4:8])
    return f"{MARK_ADMINISTRATOR}:{first}:{second}"


def bfd_profile(interval_ms: int) -> str:
    """The BFD profile of an interval."""
    return f"pn-{interval_ms}ms"
