"""Peers and paths, from protobuf. There may be thousands: this is the part that has to be fast.

As in `decode_network`, the model is made even when a field could not be read, so that all of its
rules are checked in one pass.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Final

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.network import Path, PathPurpose, Peer, PeerKind, PeerRole
from powernode_agent.model.remote_network import RemoteNetwork
from powernode_agent.model.values import NetworkId, PathId, PeerId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.decode_network import PEER_ROLE_NAMES, PEER_ROLES
from powernode_agent.wire.texts import FieldReader

_PEER_KINDS: Final = {
    int(pb.PEER_KIND_NODE): PeerKind.NODE,
    int(pb.PEER_KIND_USER_DEVICE): PeerKind.USER_DEVICE,
    int(pb.PEER_KIND_FEDERATION): PeerKind.FEDERATION,
}
_PEER_KIND_NAMES: Final = {int(number): name for name, number in pb.PeerKind.items()}

_PURPOSES: Final = {
    int(pb.PATH_PURPOSE_OVERLAY): PathPurpose.OVERLAY,
    int(pb.PATH_PURPOSE_LAN): PathPurpose.LAN,
    int(pb.PATH_PURPOSE_VIRTUAL_IP): PathPurpose.VIRTUAL_IP,
    int(pb.PATH_PURPOSE_POD_SUBNET): PathPurpose.POD_SUBNET,
    int(pb.PATH_PURPOSE_FEDERATION): PathPurpose.FEDERATION,
}
_PURPOSE_NAMES: Final = {int(number): name for name, number in pb.PathPurpose.items()}

_SOME_ADDRESS: Final = IPv6Address(1 << 64)
_SOME_PREFIX: Final = IPv6Network((1 << 64, 128))


def decode_peer(message: pb.Peer, found: list[Violation]) -> Peer | None:
    """One peer, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"peer {message.name} ({message.id})", found)
    kind = reader.choice("kind", message.kind, _PEER_KINDS, _PEER_KIND_NAMES)
    role = reader.choice("role", message.role, PEER_ROLES, PEER_ROLE_NAMES)
    host_address = reader.ipv6("host_address", message.host_address, need=True)
    try:
        peer = Peer(
            id=PeerId(message.id),
            network_id=NetworkId(message.network_id),
            name=message.name,
            kind=kind or PeerKind.NODE,
            role=role or PeerRole.SPOKE,
            host_address=host_address or _SOME_ADDRESS,
            public_key=reader.public_key("public_key", message.public_key),
            next_public_key=reader.public_key("next_public_key", message.next_public_key),
            preshared_key=reader.preshared_key("preshared_key", message.preshared_key),
            host_ipv4=reader.ipv4("host_ipv4", message.host_ipv4),
            endpoint=reader.endpoint("endpoint", message.endpoint),
            keepalive=message.persistent_keepalive_seconds,
            permitted_prefixes=reader.prefixes("permitted_prefixes", message.permitted_prefixes),
            remote=_remote(message, reader),
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return peer if len(found) == before else None


def _remote(message: pb.Peer, reader: FieldReader) -> RemoteNetwork | None:
    """What a federation peer stands for; for any other kind as well where it was given."""
    given = message.remote_account_id or message.remote_network_id or message.advertised_prefixes
    if not given:
        return None
    return RemoteNetwork(
        account_id=message.remote_account_id,
        network_id=message.remote_network_id,
        advertised=reader.prefixes("advertised_prefixes", message.advertised_prefixes),
    )


def decode_path(message: pb.Path, found: list[Violation]) -> Path | None:
    """One path, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"path {message.prefix} ({message.id})", found)
    prefix = reader.prefix("prefix", message.prefix, need=True)
    purpose = reader.choice("purpose", message.purpose, _PURPOSES, _PURPOSE_NAMES)
    try:
        path = Path(
            id=PathId(message.id),
            network_id=NetworkId(message.network_id),
            prefix=prefix or _SOME_PREFIX,
            purpose=purpose or PathPurpose.OVERLAY,
            candidates=tuple(PeerId(candidate.peer_id) for candidate in message.candidates),
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return path if len(found) == before else None
