"""Desired states, snapshots and deltas as a platform would make them."""

from __future__ import annotations

import base64
from hashlib import sha256

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb


def key(seed: object) -> str:
    """Some WireGuard key, always the same for the same seed."""
    return base64.b64encode(sha256(repr(seed).encode()).digest()).decode()


def network(id_: str = "core", number: int = 1, mtu: int = 0) -> pb.Network:
    return pb.Network(
        id=id_,
        name=f"net {id_}",
        handle=id_[:6],
        prefix=f"fd00:abcd:{number:x}::/64",
        overlay_ipv4_prefix=f"10.99.{number}.0/24",
        routing_mode=pb.ROUTING_MODE_STATIC,
        interface=pb.Interface(
            peer_id=f"me-{id_}",
            address=f"fd00:abcd:{number:x}::1",
            overlay_ipv4=f"10.99.{number}.1",
            role=pb.PEER_ROLE_SPOKE,
            listen_port=51820 + number,
            mtu=mtu,
            key_source=pb.KEY_SOURCE_PLATFORM,
            private_key=key(("private", id_)),
        ),
    )


def peer(i: int, network_id: str = "core", number: int = 1, variant: int = 0) -> pb.Peer:
    return pb.Peer(
        id=f"p-{i}",
        network_id=network_id,
        name=f"peer-{i}",
        kind=pb.PEER_KIND_NODE,
        role=pb.PEER_ROLE_HUB,
        public_key=key((i, variant)),
        host_address=f"fd00:abcd:{number:x}::{i + 16:x}",
        endpoint=f"203.0.113.{i % 250 + 1}:51820",
        persistent_keepalive_seconds=25,
        permitted_prefixes=[f"fd00:beef:{i + 1:x}::/64"],
    )


def path(i: int, candidates: list[str], network_id: str = "core") -> pb.Path:
    return pb.Path(
        id=f"path-{i}",
        network_id=network_id,
        prefix=f"fd00:beef:{i + 1:x}::/64",
        purpose=pb.PATH_PURPOSE_LAN,
        candidates=[pb.PathCandidate(peer_id=candidate) for candidate in candidates],
    )


def state(
    revision: int = 1,
    networks: list[pb.Network] | None = None,
    peers: list[pb.Peer] | None = None,
    paths: list[pb.Path] | None = None,
) -> pb.DesiredState:
    """A small valid state: one network, two peers, one path."""
    return pb.DesiredState(
        revision=revision,
        node=pb.Node(id="node-1", name="edge-1", version=1),
        networks=[network()] if networks is None else networks,
        peers=[peer(0), peer(1)] if peers is None else peers,
        paths=[path(0, ["p-0", "p-1"])] if paths is None else paths,
    )


Resource = pb.Network | pb.Peer | pb.Path
Resources = dict[tuple[service_pb.ResourceKind, str], Resource]


def resources(message: pb.DesiredState) -> Resources:
    found: Resources = {}
    for network_ in message.networks:
        found[service_pb.RESOURCE_KIND_NETWORK, network_.id] = network_
    for peer_ in message.peers:
        found[service_pb.RESOURCE_KIND_PEER, peer_.id] = peer_
    for path_ in message.paths:
        found[service_pb.RESOURCE_KIND_PATH, path_.id] = path_
    return found


def digest(message: pb.DesiredState) -> bytes:
    """As agent_service.proto says it, written a second time on purpose."""
    total = bytes(16)
    lines = [f"1\n{message.node.id}\n{message.node.version}"] + [
        f"{int(kind)}\n{id_}\n{resource.version}"
        for (kind, id_), resource in resources(message).items()
    ]
    for line in lines:
        total = bytes(a ^ b for a, b in zip(total, sha256(line.encode()).digest(), strict=False))
    return total


def with_versions(before: pb.DesiredState | None, after: pb.DesiredState) -> pb.DesiredState:
    """`after` with the versions a platform gives: unchanged resources keep theirs."""
    earlier = {} if before is None else resources(before)
    for key_, resource in resources(after).items():
        old = earlier.get(key_)
        resource.version = after.revision if old is None else old.version
        if old is not None and old != resource:
            resource.version = after.revision
    return after


def delta(before: pb.DesiredState, after: pb.DesiredState) -> service_pb.Delta:
    """The way from one state to the other."""
    old, new = resources(before), resources(after)
    message = service_pb.Delta(
        base_revision=before.revision,
        removed=[
            service_pb.ResourceRef(kind=kind, id=id_) for kind, id_ in old if (kind, id_) not in new
        ],
        upserts=pb.DesiredState(revision=after.revision),
        digest=digest(after),
    )
    for key_, resource in new.items():
        if old.get(key_) == resource:
            continue
        match resource:
            case pb.Network():
                message.upserts.networks.append(resource)
            case pb.Peer():
                message.upserts.peers.append(resource)
            case pb.Path():
                message.upserts.paths.append(resource)
    return message


def chunks(message: pb.DesiredState) -> list[service_pb.SnapshotChunk]:
    """A snapshot of three chunks: networks, peers, paths."""
    parts = [
        pb.DesiredState(revision=message.revision, node=message.node, networks=message.networks),
        pb.DesiredState(revision=message.revision, peers=message.peers),
        pb.DesiredState(revision=message.revision, paths=message.paths),
    ]
    made = [
        service_pb.SnapshotChunk(index=i, count=len(parts), part=part)
        for i, part in enumerate(parts)
    ]
    made[-1].digest = digest(message)
    return made
