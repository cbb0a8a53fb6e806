"""A desired state as a table of resources, with the digest over them.

Everything the platform sends is a set of resources, each with a kind, an id and a version. As a table
they can be replaced one at a time, and the digest that guards deltas (agent_service.proto) follows by
XOR without looking at the rest. This module knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import bgp_pb2 as bgp_pb
from powernode.sdwan.v1 import desired_state_pb2 as state_pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
from powernode.sdwan.v1 import flannel_pb2 as flannel_pb
from powernode.sdwan.v1 import port_mapping_pb2 as port_mapping_pb
from powernode.sdwan.v1 import virtual_ip_pb2 as virtual_ip_pb
from powernode_agent.model.violation import Violation, violation

Resource = (
    state_pb.Node
    | state_pb.Network
    | state_pb.Peer
    | state_pb.Path
    | virtual_ip_pb.VirtualIp
    | firewall_pb.FirewallTag
    | firewall_pb.FirewallRule
    | port_mapping_pb.PortMapping
    | bgp_pb.BgpInstance
    | bgp_pb.RoutePolicy
    | flannel_pb.FlannelBootstrap
)

NetworkResource = (
    state_pb.Peer
    | state_pb.Path
    | firewall_pb.FirewallTag
    | firewall_pb.FirewallRule
    | port_mapping_pb.PortMapping
    | virtual_ip_pb.VirtualIp
    | bgp_pb.BgpInstance
    | bgp_pb.RoutePolicy
    | flannel_pb.FlannelBootstrap
)
"""What is on a network. A route policy may be on none: it is on all of them then."""

Key = tuple[int, str]
"""Number of the kind, and id."""

NODE: Final = int(service_pb.RESOURCE_KIND_NODE)
NETWORK: Final = int(service_pb.RESOURCE_KIND_NETWORK)
PEER: Final = int(service_pb.RESOURCE_KIND_PEER)
PATH: Final = int(service_pb.RESOURCE_KIND_PATH)
FIREWALL_TAG: Final = int(service_pb.RESOURCE_KIND_FIREWALL_TAG)
FIREWALL_RULE: Final = int(service_pb.RESOURCE_KIND_FIREWALL_RULE)
PORT_MAPPING: Final = int(service_pb.RESOURCE_KIND_PORT_MAPPING)
VIRTUAL_IP: Final = int(service_pb.RESOURCE_KIND_VIRTUAL_IP)
BGP_INSTANCE: Final = int(service_pb.RESOURCE_KIND_BGP_INSTANCE)
ROUTE_POLICY: Final = int(service_pb.RESOURCE_KIND_ROUTE_POLICY)
FLANNEL_BOOTSTRAP: Final = int(service_pb.RESOURCE_KIND_FLANNEL_BOOTSTRAP)

KIND_NAMES: Final[Mapping[int, str]] = {
    number: name.removeprefix("RESOURCE_KIND_").lower().replace("_", " ")
    for name, number in service_pb.ResourceKind.items()
} | {VIRTUAL_IP: "virtual IP", BGP_INSTANCE: "BGP instance"}

FIELD_OF_KIND: Final[Mapping[int, str]] = {
    NETWORK: "networks",
    PEER: "peers",
    PATH: "paths",
    VIRTUAL_IP: "virtual_ips",
    FIREWALL_TAG: "firewall_tags",
    FIREWALL_RULE: "firewall_rules",
    PORT_MAPPING: "port_mappings",
    BGP_INSTANCE: "bgp_instances",
    ROUTE_POLICY: "route_policies",
    FLANNEL_BOOTSTRAP: "flannel_bootstraps",
}
"""Field of DesiredState for each kind but the node."""

DIGEST_LENGTH: Final = 16
"""Bytes."""


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that came, went or was replaced; at least one of the two is there."""

    key: Key
    before: Resource | None
    after: Resource | None


@dataclass(frozen=True, slots=True)
class Table:
    """The resources of one revision. Never changed once made: a change makes another table.

    `digest` is the XOR of `resource_digest` over all of them. Revision 0 is the empty table.
    """

    revision: int
    resources: Mapping[Key, Resource]
    digest: int


EMPTY: Final = Table(0, {}, 0)


def resource_digest(kind: int, id_: str, version: int) -> int:
    """What one resource contributes to the digest (agent_service.proto), as an integer."""
    return int.from_bytes(
        sha256(f"{kind}\n{id_}\n{version}".encode()).digest()[:DIGEST_LENGTH], "big"
    )


def digest_bytes(digest: int) -> bytes:
    """A digest as the contract carries it."""
    return digest.to_bytes(DIGEST_LENGTH, "big")


def state_digest(message: state_pb.DesiredState) -> bytes:
    """Digest of a whole desired state."""
    digest = 0
    for (kind, id_), resource in each_resource(message):
        digest ^= resource_digest(kind, id_, resource.version)
    return digest_bytes(digest)


def each_resource(message: state_pb.DesiredState) -> Iterator[tuple[Key, Resource]]:
    """Every resource with its key: the node (if given) and networks before what is on them."""
    if message.HasField("node"):
        yield (NODE, message.node.id), message.node
    for network in message.networks:
        yield (NETWORK, network.id), network
    for peer in message.peers:
        yield (PEER, peer.id), peer
    for path in message.paths:
        yield (PATH, path.id), path
    for virtual_ip in message.virtual_ips:
        yield (VIRTUAL_IP, virtual_ip.id), virtual_ip
    for tag in message.firewall_tags:
        yield (FIREWALL_TAG, tag.id), tag
    for rule in message.firewall_rules:
        yield (FIREWALL_RULE, rule.id), rule
    for mapping in message.port_mappings:
        yield (PORT_MAPPING, mapping.id), mapping
    for instance in message.bgp_instances:
        yield (BGP_INSTANCE, instance.id), instance
    for policy in message.route_policies:
        yield (ROUTE_POLICY, policy.id), policy
    for bootstrap in message.flannel_bootstraps:
        yield (FLANNEL_BOOTSTRAP, bootstrap.id), bootstrap


def table_of(message: state_pb.DesiredState) -> tuple[Table, list[Violation]]:
    """The table of a whole state, and a violation for every id that occurs twice within its kind.

    The table keeps the parts of `message`: the caller leaves it alone from then on.
    """
    resources, found = keyed_resources(message)
    digest = 0
    for (kind, id_), resource in resources.items():
        digest ^= resource_digest(kind, id_, resource.version)
    return Table(message.revision, resources, digest), found


def message_of(table: Table) -> state_pb.DesiredState:
    """The whole state as one message, its lists in the order of the table."""
    lists: dict[str, list[Resource]] = {}
    message = state_pb.DesiredState(revision=table.revision)
    for (kind, _), resource in table.resources.items():
        if isinstance(resource, state_pb.Node):
            message.node.CopyFrom(resource)
        else:
            lists.setdefault(FIELD_OF_KIND[kind], []).append(resource)
    for name, resources in lists.items():
        getattr(message, name).extend(resources)
    return message


def changes_between(before: Table, after: Table) -> list[ResourceChange]:
    """What differs in content, whatever the versions say."""
    changes = [
        ResourceChange(key, before.resources.get(key), resource)
        for key, resource in after.resources.items()
        if before.resources.get(key) != resource
    ]
    changes += [
        ResourceChange(key, resource, None)
        for key, resource in before.resources.items()
        if key not in after.resources
    ]
    return changes


def keyed_resources(message: state_pb.DesiredState) -> tuple[dict[Key, Resource], list[Violation]]:
    """The resources by key, the first of each, and a violation for every further one."""
    resources: dict[Key, Resource] = {}
    found: list[Violation] = []
    for key, resource in each_resource(message):
        if resources.setdefault(key, resource) is not resource:
            found.append(violation(KIND_NAMES[key[0]], "id", key[1], "each id once"))
    return resources, found
