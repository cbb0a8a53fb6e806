"""Desired states, snapshots and deltas as a platform would make them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import bgp_pb2 as bgp_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
from powernode.sdwan.v1 import port_mapping_pb2 as port_mapping_pb
from powernode.sdwan.v1 import virtual_ip_pb2 as virtual_ip_pb


def key(seed: object) -> str:
    """Some WireGuard key, always the same for the same seed."""
    return base64.b64encode(sha256(repr(seed).encode()).digest()).decode()


def network(
    id_: str = "core", number: int = 1, mtu: int = 0, hub: bool = False, ibgp: bool = False
) -> pb.Network:
    return pb.Network(
        id=id_,
        name=f"net {id_}",
        handle=id_[:6],
        prefix=f"fd00:abcd:{number:x}::/64",
        overlay_ipv4_prefix=f"10.99.{number}.0/24",
        routing_mode=pb.ROUTING_MODE_IBGP if ibgp else pb.ROUTING_MODE_STATIC,
        interface=pb.Interface(
            peer_id=f"me-{id_}",
            address=f"fd00:abcd:{number:x}::1",
            overlay_ipv4=f"10.99.{number}.1",
            role=pb.PEER_ROLE_HUB if hub else pb.PEER_ROLE_SPOKE,
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


def tag(i: int, members: list[str], network_id: str = "core") -> firewall_pb.FirewallTag:
    return firewall_pb.FirewallTag(
        id=f"tag-{i}", network_id=network_id, name=f"tenant-{i}", members=members
    )


def rule(i: int, network_id: str = "core", variant: int = 0) -> firewall_pb.FirewallRule:
    """A rule whose selector is of another kind for each `i`."""
    made = firewall_pb.FirewallRule(
        id=f"fr-{i}",
        network_id=network_id,
        direction=firewall_pb.FIREWALL_DIRECTION_INGRESS,
        action=firewall_pb.FIREWALL_ACTION_DROP if variant else firewall_pb.FIREWALL_ACTION_ACCEPT,
        protocol=firewall_pb.FIREWALL_PROTOCOL_TCP,
        port_range=firewall_pb.PortRange(first=8443, last=8443 + i),
        priority=i - 3,
        created_at_ms=1_700_000_000_000 + i,
        destination_prefixes=["fd00:abcd:1::100/128"] if i % 2 else [],
    )
    match i % 4:
        case 0:
            made.selector.all = True
        case 1:
            made.selector.tag_id = f"tag-{i % 3}"
        case 2:
            made.selector.cidr = "10.1.0.0/16" if variant else "fd00:beef::/32"
        case _:
            made.selector.peer_id = f"p-{i}"
            made.selector.peer_prefixes.append(f"fd00:abcd:1::{i + 16:x}/128")
    return made


def mapping(
    i: int, network_id: str = "core", number: int = 1, variant: int = 0
) -> port_mapping_pb.PortMapping:
    return port_mapping_pb.PortMapping(
        id=f"pm-{i}",
        network_id=network_id,
        external_address="203.0.113.5",
        external_port=443 + i,
        protocol=port_mapping_pb.PORT_MAPPING_PROTOCOL_TCP,
        internal_address=f"fd00:abcd:{number:x}::{i + 16:x}",
        internal_port=8443 + variant,
    )


def virtual_ip(
    i: int, network_id: str = "core", number: int = 1, variant: int = 0
) -> virtual_ip_pb.VirtualIp:
    return virtual_ip_pb.VirtualIp(
        id=f"vip-{i}",
        network_id=network_id,
        name=f"api-{i}",
        address=f"fd00:abcd:{number:x}::{i + 0x100:x}",
        hold=bool(variant),
        anycast=bool(i % 2),
        local_preference=200 if variant else 0,
    )


def bgp(
    neighbors: Sequence[str],
    network_id: str = "core",
    as_number: int = 65000,
    variant: int = 0,
    hub: bool = False,
) -> bgp_pb.BgpInstance:
    return bgp_pb.BgpInstance(
        id=f"bgp-{network_id}",
        network_id=network_id,
        as_number=as_number,
        router_id="10.255.0.7",
        route_reflector=hub,
        cluster_id="10.255.0.1" if hub else "",
        neighbors=[
            bgp_pb.BgpNeighbor(
                peer_id=each, route_reflector_client=hub, passive=hub, bfd_interval_ms=100
            )
            for each in neighbors
        ],
        advertisements=[
            bgp_pb.SubnetAdvertisement(prefix=f"10.77.{variant}.0/24", description="Tokyo office"),
            bgp_pb.SubnetAdvertisement(prefix="fd00:cafe::/64"),
        ],
    )


def policy(i: int, network_id: str = "core", variant: int = 0) -> bgp_pb.RoutePolicy:
    """Three statements, not in order, with something of everything."""
    made = bgp_pb.RoutePolicy(
        id=f"rp-{i}",
        network_id=network_id,
        name=f"prefer-{i}",
        direction=bgp_pb.ROUTE_POLICY_DIRECTION_EXPORT
        if i % 2
        else bgp_pb.ROUTE_POLICY_DIRECTION_IMPORT,
        priority=i - 1,
    )
    last = made.statements.add(seq=30, action=bgp_pb.ROUTE_POLICY_ACTION_DENY)
    last.match.as_path = "_64999_"
    first = made.statements.add(seq=10, action=bgp_pb.ROUTE_POLICY_ACTION_PERMIT)
    first.match.prefix, first.match.ge, first.match.le = "fd00:abcd:1::/64", 96, 128
    first.match.peer_id = "p-0"
    first.set.local_pref = 200 + variant
    second = made.statements.add(seq=20, action=bgp_pb.ROUTE_POLICY_ACTION_PERMIT)
    second.match.community = "65000:100"
    second.set.med = 0
    second.set.communities.extend(["65000:7", "65000:1:2"])
    second.set.communities_additive = True
    second.set.as_path_prepend.extend([65001, 65001])
    return made


def routed(hub: bool = True) -> pb.DesiredState:
    """An iBGP network with neighbours, two virtual IPs, a policy of its own, one of the account."""
    return state(
        networks=[network(hub=hub, ibgp=True)],
        virtual_ips=[virtual_ip(0), virtual_ip(1, variant=1)],
        instances=[bgp(["p-0", "p-1"], hub=hub)],
        policies=[policy(0), policy(1, "")],
    )


def state(
    revision: int = 1,
    networks: list[pb.Network] | None = None,
    peers: list[pb.Peer] | None = None,
    paths: list[pb.Path] | None = None,
    tags: Sequence[firewall_pb.FirewallTag] = (),
    rules: Sequence[firewall_pb.FirewallRule] = (),
    mappings: Sequence[port_mapping_pb.PortMapping] = (),
    virtual_ips: Sequence[virtual_ip_pb.VirtualIp] = (),
    instances: Sequence[bgp_pb.BgpInstance] = (),
    policies: Sequence[bgp_pb.RoutePolicy] = (),
) -> pb.DesiredState:
    """A small valid state: one network, two peers, one path."""
    return pb.DesiredState(
        revision=revision,
        node=pb.Node(id="node-1", name="edge-1", version=1),
        networks=[network()] if networks is None else networks,
        peers=[peer(0), peer(1)] if peers is None else peers,
        paths=[path(0, ["p-0", "p-1"])] if paths is None else paths,
        firewall_tags=tags,
        firewall_rules=rules,
        port_mappings=mappings,
        virtual_ips=virtual_ips,
        bgp_instances=instances,
        route_policies=policies,
    )


Resource = (
    pb.Network
    | pb.Peer
    | pb.Path
    | firewall_pb.FirewallTag
    | firewall_pb.FirewallRule
    | port_mapping_pb.PortMapping
    | virtual_ip_pb.VirtualIp
    | bgp_pb.BgpInstance
    | bgp_pb.RoutePolicy
)
Resources = dict[tuple[service_pb.ResourceKind, str], Resource]


def resources(message: pb.DesiredState) -> Resources:
    found: Resources = {}
    for network_ in message.networks:
        found[service_pb.RESOURCE_KIND_NETWORK, network_.id] = network_
    for peer_ in message.peers:
        found[service_pb.RESOURCE_KIND_PEER, peer_.id] = peer_
    for path_ in message.paths:
        found[service_pb.RESOURCE_KIND_PATH, path_.id] = path_
    for tag_ in message.firewall_tags:
        found[service_pb.RESOURCE_KIND_FIREWALL_TAG, tag_.id] = tag_
    for rule_ in message.firewall_rules:
        found[service_pb.RESOURCE_KIND_FIREWALL_RULE, rule_.id] = rule_
    for mapping_ in message.port_mappings:
        found[service_pb.RESOURCE_KIND_PORT_MAPPING, mapping_.id] = mapping_
    for virtual_ip_ in message.virtual_ips:
        found[service_pb.RESOURCE_KIND_VIRTUAL_IP, virtual_ip_.id] = virtual_ip_
    for instance in message.bgp_instances:
        found[service_pb.RESOURCE_KIND_BGP_INSTANCE, instance.id] = instance
    for policy_ in message.route_policies:
        found[service_pb.RESOURCE_KIND_ROUTE_POLICY, policy_.id] = policy_
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
    """The way from one state to the other; a tag of which only the members changed goes by
    membership, as a platform would send it."""
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
        earlier = old.get(key_)
        if isinstance(resource, firewall_pb.FirewallTag) and isinstance(
            earlier, firewall_pb.FirewallTag
        ):
            membership = _membership(earlier, resource)
            if membership is not None:
                message.tag_memberships.append(membership)
                continue
        match resource:
            case pb.Network():
                message.upserts.networks.append(resource)
            case pb.Peer():
                message.upserts.peers.append(resource)
            case pb.Path():
                message.upserts.paths.append(resource)
            case firewall_pb.FirewallTag():
                message.upserts.firewall_tags.append(resource)
            case firewall_pb.FirewallRule():
                message.upserts.firewall_rules.append(resource)
            case port_mapping_pb.PortMapping():
                message.upserts.port_mappings.append(resource)
            case virtual_ip_pb.VirtualIp():
                message.upserts.virtual_ips.append(resource)
            case bgp_pb.BgpInstance():
                message.upserts.bgp_instances.append(resource)
            case bgp_pb.RoutePolicy():
                message.upserts.route_policies.append(resource)
    return message


def _membership(
    before: firewall_pb.FirewallTag, after: firewall_pb.FirewallTag
) -> firewall_pb.TagMembership | None:
    """None if more than its members changed."""
    if (before.network_id, before.name) != (after.network_id, after.name):
        return None
    return firewall_pb.TagMembership(
        tag_id=after.id,
        joined=[each for each in after.members if each not in before.members],
        left=[each for each in before.members if each not in after.members],
        version=after.version,
    )


def chunks(message: pb.DesiredState) -> list[service_pb.SnapshotChunk]:
    """A snapshot of five chunks: networks, peers, paths, what filters, and what routes."""
    parts = [
        pb.DesiredState(revision=message.revision, node=message.node, networks=message.networks),
        pb.DesiredState(revision=message.revision, peers=message.peers),
        pb.DesiredState(revision=message.revision, paths=message.paths),
        pb.DesiredState(
            revision=message.revision,
            firewall_tags=message.firewall_tags,
            firewall_rules=message.firewall_rules,
            port_mappings=message.port_mappings,
        ),
        pb.DesiredState(
            revision=message.revision,
            virtual_ips=message.virtual_ips,
            bgp_instances=message.bgp_instances,
            route_policies=message.route_policies,
        ),
    ]
    made = [
        service_pb.SnapshotChunk(index=i, count=len(parts), part=part)
        for i, part in enumerate(parts)
    ]
    made[-1].digest = digest(message)
    return made
