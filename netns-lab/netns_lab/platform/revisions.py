"""Revisions of one node's desired state: what changed, its number, its digest, its messages. Pure.

A revision is taken only when a resource differs; unchanged resources keep the version of the revision
in which they last changed. The digest is the contract's (agent_service.proto): XOR over resources of
the first 16 bytes of SHA-256("<kind>\\n<id>\\n<version>"), so one step costs as much as what changed,
not as much as the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import bgp_pb2, firewall_pb2, flannel_pb2, port_mapping_pb2, virtual_ip_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

Key = tuple[int, str]
"""ResourceKind and id."""

Resource = (
    pb.Node
    | pb.Network
    | pb.Peer
    | pb.Path
    | virtual_ip_pb2.VirtualIp
    | firewall_pb2.FirewallTag
    | firewall_pb2.FirewallRule
    | port_mapping_pb2.PortMapping
    | bgp_pb2.BgpInstance
    | bgp_pb2.RoutePolicy
    | flannel_pb2.FlannelBootstrap
)
Resources = dict[Key, Resource]

CHUNK_BYTES: Final = 2 * 1024 * 1024
"""Well below gRPC's limit of 4 MiB: the last resource of a part may overshoot."""

DIGEST_BYTES: Final = 16


def key_of(resource: Resource) -> Key:
    """Kind and id of a resource."""
    return _kind_of(resource), resource.id


def _kind_of(resource: Resource) -> int:
    match resource:
        case pb.Node():
            return service_pb.RESOURCE_KIND_NODE
        case pb.Network():
            return service_pb.RESOURCE_KIND_NETWORK
        case pb.Peer():
            return service_pb.RESOURCE_KIND_PEER
        case pb.Path():
            return service_pb.RESOURCE_KIND_PATH
        case virtual_ip_pb2.VirtualIp():
            return service_pb.RESOURCE_KIND_VIRTUAL_IP
        case firewall_pb2.FirewallTag():
            return service_pb.RESOURCE_KIND_FIREWALL_TAG
        case firewall_pb2.FirewallRule():
            return service_pb.RESOURCE_KIND_FIREWALL_RULE
        case port_mapping_pb2.PortMapping():
            return service_pb.RESOURCE_KIND_PORT_MAPPING
        case bgp_pb2.BgpInstance():
            return service_pb.RESOURCE_KIND_BGP_INSTANCE
        case bgp_pb2.RoutePolicy():
            return service_pb.RESOURCE_KIND_ROUTE_POLICY
        case flannel_pb2.FlannelBootstrap():
            return service_pb.RESOURCE_KIND_FLANNEL_BOOTSTRAP


@dataclass(frozen=True, slots=True)
class NodeRevision:
    """A node's whole state at one revision. `resources` carry no version; `versions` holds them."""

    revision: int
    resources: Mapping[Key, Resource]
    versions: Mapping[Key, int]
    digest: bytes


NOTHING: Final = NodeRevision(0, {}, {}, bytes(DIGEST_BYTES))
"""Before the first revision."""


def digest_of(versions: Mapping[Key, int]) -> bytes:
    """Digest of a whole state."""
    return _fold(bytes(DIGEST_BYTES), versions.items())


def advance(
    current: NodeRevision, target: Mapping[Key, Resource]
) -> tuple[NodeRevision, service_pb.Delta] | None:
    """The next revision and the way to it; None when nothing differs."""
    changed = {
        key: resource
        for key, resource in target.items()
        # Unchanged networks keep their objects, and identity is cheaper than comparison.
        if (before := current.resources.get(key)) is not resource and before != resource
    }
    removed = [key for key in current.resources if key not in target]
    if not changed and not removed:
        return None
    revision = current.revision + 1
    versions = {key: current.versions.get(key, revision) for key in target}
    versions.update(dict.fromkeys(changed, revision))
    touched = [*removed, *(key for key in changed if key in current.versions)]
    digest = _fold(current.digest, ((key, current.versions[key]) for key in touched))
    digest = _fold(digest, ((key, revision) for key in changed))
    following = NodeRevision(revision, dict(target), versions, digest)
    upserts = pb.DesiredState(revision=revision)
    for key, resource in changed.items():
        _put(upserts, resource, versions[key])
    delta = service_pb.Delta(
        base_revision=current.revision,
        removed=[
            service_pb.ResourceRef(kind=service_pb.ResourceKind.Name(kind), id=id_)
            for kind, id_ in removed
        ],
        upserts=upserts,
        digest=digest,
    )
    return following, delta


def snapshot(state: NodeRevision, chunk_bytes: int = CHUNK_BYTES) -> list[service_pb.SnapshotChunk]:
    """The whole state in parts of about `chunk_bytes`, the node itself in part 0."""
    parts: list[pb.DesiredState] = [pb.DesiredState(revision=state.revision)]
    size = 0
    node_first = sorted(state.resources.items(), key=lambda item: not isinstance(item[1], pb.Node))
    for key, resource in node_first:
        cost = resource.ByteSize() + 16
        if size and size + cost > chunk_bytes:
            parts.append(pb.DesiredState(revision=state.revision))
            size = 0
        _put(parts[-1], resource, state.versions[key])
        size += cost
    chunks = [
        service_pb.SnapshotChunk(index=index, count=len(parts), part=part)
        for index, part in enumerate(parts)
    ]
    chunks[-1].digest = state.digest
    return chunks


def alone(resource: Resource) -> pb.DesiredState:
    """A state of one resource, with its version."""
    message = pb.DesiredState()
    _put(message, resource, resource.version)
    return message


def to_message(state: NodeRevision) -> pb.DesiredState:
    """The whole state as one message, for storage."""
    message = pb.DesiredState(revision=state.revision)
    for key, resource in state.resources.items():
        _put(message, resource, state.versions[key])
    return message


def from_message(message: pb.DesiredState) -> NodeRevision:
    """The inverse of `to_message`."""
    resources: Resources = {}
    versions: dict[Key, int] = {}
    for resource in each_resource(message):
        key = key_of(resource)
        versions[key] = resource.version
        bare = deepcopy(resource)
        bare.version = 0
        resources[key] = bare
    return NodeRevision(message.revision, resources, versions, digest_of(versions))


def each_resource(message: pb.DesiredState) -> Iterator[Resource]:
    """All resources of a state."""
    if message.HasField("node"):
        yield message.node
    yield from message.networks
    yield from message.peers
    yield from message.paths
    yield from message.virtual_ips
    yield from message.firewall_tags
    yield from message.firewall_rules
    yield from message.port_mappings
    yield from message.bgp_instances
    yield from message.route_policies
    yield from message.flannel_bootstraps


def _fold(digest: bytes, items: Iterable[tuple[Key, int]]) -> bytes:
    value = int.from_bytes(digest)
    for (kind, id_), version in items:
        mark = hashlib.sha256(f"{kind}\n{id_}\n{version}".encode()).digest()[:DIGEST_BYTES]
        value ^= int.from_bytes(mark)
    return value.to_bytes(DIGEST_BYTES)


def _put(message: pb.DesiredState, resource: Resource, version: int) -> None:
    """Adds a copy of `resource` with `version` to the list of its kind."""
    copy: Resource
    match resource:
        case pb.Node():
            message.node.CopyFrom(resource)
            copy = message.node
        case pb.Network():
            copy = message.networks.add()
            copy.CopyFrom(resource)
        case pb.Peer():
            copy = message.peers.add()
            copy.CopyFrom(resource)
        case pb.Path():
            copy = message.paths.add()
            copy.CopyFrom(resource)
        case virtual_ip_pb2.VirtualIp():
            copy = message.virtual_ips.add()
            copy.CopyFrom(resource)
        case firewall_pb2.FirewallTag():
            copy = message.firewall_tags.add()
            copy.CopyFrom(resource)
        case firewall_pb2.FirewallRule():
            copy = message.firewall_rules.add()
            copy.CopyFrom(resource)
        case port_mapping_pb2.PortMapping():
            copy = message.port_mappings.add()
            copy.CopyFrom(resource)
        case bgp_pb2.BgpInstance():
            copy = message.bgp_instances.add()
            copy.CopyFrom(resource)
        case bgp_pb2.RoutePolicy():
            copy = message.route_policies.add()
            copy.CopyFrom(resource)
        case flannel_pb2.FlannelBootstrap():
            copy = message.flannel_bootstraps.add()
            copy.CopyFrom(resource)
    copy.version = version
