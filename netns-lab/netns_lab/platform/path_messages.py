"""Paths as messages: which peers may carry a prefix, and the id that a prefix's path has. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from powernode.sdwan.v1 import desired_state_pb2 as pb


def path_id(network_id: str, prefix: str) -> str:
    """Id of the path of a prefix: stable, and within the id alphabet, which has no slash."""
    return f"{network_id}.{prefix.replace('/', '_')}"


def path_message(
    network_id: str, prefix: str, purpose: pb.PathPurpose, candidates: Iterable[str]
) -> pb.Path:
    """The path of a prefix. `candidates` are peer ids, best first."""
    return pb.Path(
        id=path_id(network_id, prefix),
        network_id=network_id,
        prefix=prefix,
        purpose=purpose,
        candidates=[pb.PathCandidate(peer_id=candidate) for candidate in candidates],
    )
