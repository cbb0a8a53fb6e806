"""Revisions of one node's desired state: what changed, its number, its digest, its messages. Pure.

A revision is taken only when a resource differs; unchanged resources keep the version of the revision
in which they last changed. A tag that only gained or lost members is sent as those members, whatever
its size. The digest is the contract's (agent_service.proto): XOR over resources of
the first 16 bytes of SHA-256("<kind>\\n<id>\\n<version>"), so one step costs as much as what changed,
not as much as the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Prefixes that joined and left a tag."""

    joined: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(slots=True, eq=False)
class TagChanges:
    """What changed in the members of tags. All nodes of a network hold a tag as one object, so the ten
    thousand members of it are compared once."""

    # Of the ids of two objects; the objects are kept, so that the ids stay theirs.
    _known: dict[tuple[int, int], tuple[Resource, Resource, MemberChange | None]] = field(
        default_factory=dict
    )

    def between(self, before: Resource | None, after: Resource) -> MemberChange | None:
        """How `before` becomes `after` by members alone; None: not so, or not worth it."""
        if not isinstance(before, firewall_pb2.FirewallTag):
            return None
        if not isinstance(after, firewall_pb2.FirewallTag):
            return None
        key = (id(before), id(after))
        if key not in self._known:
            self._known[key] = (before, after, _member_change(before, after))
        return self._known[key][2]


def _member_change(
    before: firewall_pb2.FirewallTag, after: firewall_pb2.FirewallTag
) -> MemberChange | None:
    if (before.network_id, before.name) != (after.network_id, after.name):
        return None
    was, now = set(before.members), set(after.members)
    if (len(was), len(now)) != (len(before.members), len(after.members)):
        # A member named twice, which no compiler makes: there is no telling what a node makes of it.
        return None
    joined, left = sorted(now - was), sorted(was - now)
    if not 0 < len(joined) + len(left) < len(now):
        return None
    return MemberChange(tuple(joined), tuple(left))


NOTHING: Final = NodeRevision(0, {}, {}, bytes(DIGEST_BYTES))
"""Before the first revision."""


def digest_of(versions: Mapping[Key, int]) -> bytes:
    """Digest of a whole state."""
    return _fold(bytes(DIGEST_BYTES), versions.items())


def advance(
    current: NodeRevision, target: Mapping[Key, Resource], tag_changes: TagChanges | None = None
) -> tuple[NodeRevision, service_pb.Delta] | None:
    """The next revision and the way to it; None when nothing differs.

    `tag_changes` remembers what was found of tags, for the next node that holds the same ones.
    """
    tag_changes = TagChanges() if tag_changes is None else tag_changes
    had = current.resources.get
    changed = {
        key: resource
        for key, resource in target.items()
        # Unchanged networks keep their objects, and identity is cheaper than comparison.
        if (before := had(key)) is not resource and before != resource
    }
    removed = sorted(current.resources.keys() - target.keys())
    if not changed and not removed:
        return None
    revision = current.revision + 1
    versions = {**current.versions, **dict.fromkeys(changed, revision)}
    for key in removed:
        del versions[key]
    touched = [*removed, *(key for key in changed if key in current.versions)]
    digest = _fold(current.digest, ((key, current.versions[key]) for key in touched))
    digest = _fold(digest, ((key, revision) for key in changed))
    following = NodeRevision(revision, dict(target), versions, digest)
    upserts = pb.DesiredState(revision=revision)
    memberships: list[firewall_pb2.TagMembership] = []
    for key, resource in changed.items():
        members = tag_changes.between(current.resources.get(key), resource)
        if members is None:
            _put(upserts, resource, versions[key])
        else:
            memberships.append(
                firewall_pb2.TagMembership(
                    tag_id=resource.id, joined=members.joined, left=members.left, version=revision
                )
            )
    delta = service_pb.Delta(
        base_revision=current.revision,
        removed=[
            service_pb.ResourceRef(kind=service_pb.ResourceKind.Name(kind), id=id_)
            for kind, id_ in removed
        ],
        upserts=upserts,
        tag_memberships=memberships,
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


def with_version(resource: Resource, version: int) -> Resource:
    """A copy of a resource that carries its version."""
    copy = deepcopy(resource)
    copy.version = version
    return copy


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
