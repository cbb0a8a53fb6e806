"""From the firewall and the port mappings of one network to resources. Pure.

Every node of a network holds all of its rules, and the tags that rules name, each with the prefixes of
its members: these resources are the same objects on all nodes, so what changed is worked out once and
not once for each node. A name that stands for nothing fails closed: a rule for a peer that is gone has
no prefixes, a tag without members is empty, a rule for a virtual IP that is gone and a mapping whose
hub or target is gone are not sent at all. A port mapping goes to the one hub that serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.filter_intent import (
    NO_FILTER,
    Direction,
    Everyone,
    FilterAction,
    FilterIntent,
    MappingIntent,
    MappingProtocol,
    OnePeer,
    OnePrefix,
    OneTag,
    Policy,
    Protocol,
    RuleIntent,
    TagIntent,
    ToPrefix,
    ToVirtualIp,
)
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role
from netns_lab.platform.revisions import Key, Resource, Resources, key_of
from powernode.sdwan.v1 import firewall_pb2 as pb
from powernode.sdwan.v1 import port_mapping_pb2 as mapping_pb
from powernode.sdwan.v1.agent_service_pb2 import (
    RESOURCE_KIND_FIREWALL_RULE,
    RESOURCE_KIND_FIREWALL_TAG,
)

_ACTIONS: Final = {
    FilterAction.ACCEPT: pb.FIREWALL_ACTION_ACCEPT,
    FilterAction.DROP: pb.FIREWALL_ACTION_DROP,
    FilterAction.REJECT: pb.FIREWALL_ACTION_REJECT,
}
_DIRECTIONS: Final = {
    Direction.INGRESS: pb.FIREWALL_DIRECTION_INGRESS,
    Direction.EGRESS: pb.FIREWALL_DIRECTION_EGRESS,
    Direction.BOTH: pb.FIREWALL_DIRECTION_BOTH,
}
_PROTOCOLS: Final = {
    Protocol.ANY: pb.FIREWALL_PROTOCOL_ANY,
    Protocol.TCP: pb.FIREWALL_PROTOCOL_TCP,
    Protocol.UDP: pb.FIREWALL_PROTOCOL_UDP,
    Protocol.ICMP6: pb.FIREWALL_PROTOCOL_ICMP6,
}
_MAPPING_PROTOCOLS: Final = {
    MappingProtocol.TCP: mapping_pb.PORT_MAPPING_PROTOCOL_TCP,
    MappingProtocol.UDP: mapping_pb.PORT_MAPPING_PROTOCOL_UDP,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """`common` is what every node of the network gets, `served` what its hubs get, by node id."""

    common: Mapping[Key, Resource]
    served: Mapping[str, Mapping[Key, Resource]]

    def of(self, node_id: str) -> Resources:
        """What goes to one node."""
        return {**self.common, **self.served.get(node_id, {})}


@dataclass(frozen=True, slots=True)
class _Names:
    """What the names in rules and mappings stand for."""

    network_id: str
    filter: FilterIntent
    peers: Mapping[str, PeerIntent | DeviceIntent]
    virtual_ips: Mapping[str, str]


def compile_filters(
    network: NetworkIntent, before: tuple[NetworkIntent, Filters] | None = None
) -> Filters:
    """Firewall and port mappings of the network.

    `before` is any earlier network with its result: what came to the same then is taken from it, as the
    same objects, and the result is equal to the one without it.
    """
    now = _names(network)
    was = _names(network, NO_FILTER) if before is None else _names(before[0])
    earlier = Filters({}, {}) if before is None else before[1]
    common: Resources = {}
    _rules(now, was, earlier.common, common)
    _tags(now, was, earlier.common, common)
    return Filters(common, _served(now, earlier.served))


def difference(
    was: Mapping[Key, Resource], now: Mapping[Key, Resource]
) -> tuple[Resources, frozenset[Key]]:
    """What is another object now, and what is gone."""
    put = {key: resource for key, resource in now.items() if was.get(key) is not resource}
    return put, frozenset(was.keys() - now.keys())


def policy_message(policy: Policy) -> pb.FirewallPolicy:
    """The policy as a node gets it."""
    return pb.FirewallPolicy(ingress=_ACTIONS[policy.ingress], egress=_ACTIONS[policy.egress])


def prefixes_of(peer: PeerIntent | DeviceIntent | None) -> tuple[str, ...]:
    """What a peer or a user device stands for: its host addresses and the LANs behind it. None, one
    that is gone, stands for nothing."""
    if peer is None:
        return ()
    ipv4 = (f"{peer.host_ipv4}/32",) if peer.host_ipv4 else ()
    return (f"{peer.host_address}/128", *ipv4, *peer.lan_subnets)


def _names(network: NetworkIntent, filter_: FilterIntent | None = None) -> _Names:
    wanted = network.filter if filter_ is None else filter_
    holders: dict[str, PeerIntent | DeviceIntent] = {peer.id: peer for peer in network.peers}
    holders.update((device.id, device) for device in network.devices)
    return _Names(
        network_id=network.id,
        filter=wanted,
        peers=holders,
        virtual_ips=dict(wanted.virtual_ips),
    )


def _rules(now: _Names, was: _Names, earlier: Mapping[Key, Resource], into: Resources) -> None:
    known = {rule.id: rule for rule in was.filter.rules}
    for rule in now.filter.rules:
        before = known.get(rule.id)
        key = (RESOURCE_KIND_FIREWALL_RULE, rule.id)
        kept = earlier.get(key)
        if (
            kept is not None
            and before is not None
            and (before is rule or before == rule)
            and _stands_for_the_same(rule, now, was)
        ):
            into[key] = kept
        elif (made := _rule(rule, now)) is not None:
            into[key] = made


def _stands_for_the_same(rule: RuleIntent, now: _Names, was: _Names) -> bool:
    if isinstance(rule.selector, OnePeer):
        id_ = rule.selector.peer_id
        new, old = now.peers.get(id_), was.peers.get(id_)
        if new is not old and prefixes_of(new) != prefixes_of(old):
            return False
    if isinstance(rule.destination, ToVirtualIp):
        id_ = rule.destination.virtual_ip_id
        return now.virtual_ips.get(id_) == was.virtual_ips.get(id_)
    return True


def _rule(rule: RuleIntent, names: _Names) -> pb.FirewallRule | None:
    """None: its destination is gone. Without one it would be a rule for all that is behind the node."""
    destinations: tuple[str, ...] = ()
    match rule.destination:
        case ToPrefix(prefix=prefix):
            destinations = (prefix,)
        case ToVirtualIp(virtual_ip_id=id_):
            address = names.virtual_ips.get(id_)
            if address is None:
                return None
            destinations = (str(ip_network(address)),)
        case None:
            pass
    match rule.selector:
        case OnePeer(peer_id=id_):
            selector = pb.FirewallSelector(
                peer_id=id_, peer_prefixes=prefixes_of(names.peers.get(id_))
            )
        case OneTag(tag_id=id_):
            selector = pb.FirewallSelector(tag_id=id_)
        case OnePrefix(cidr=cidr):
            selector = pb.FirewallSelector(cidr=cidr)
        case Everyone():
            selector = pb.FirewallSelector(all=True)
    ports = None if rule.ports is None else pb.PortRange(first=rule.ports[0], last=rule.ports[1])
    return pb.FirewallRule(
        id=rule.id,
        network_id=names.network_id,
        direction=_DIRECTIONS[rule.direction],
        action=_ACTIONS[rule.action],
        selector=selector,
        protocol=_PROTOCOLS[rule.protocol],
        port_range=ports,
        priority=rule.priority,
        created_at_ms=rule.created_at_ms,
        destination_prefixes=destinations,
    )


def _tags(now: _Names, was: _Names, earlier: Mapping[Key, Resource], into: Resources) -> None:
    named = {rule.selector.tag_id for rule in now.filter.rules if isinstance(rule.selector, OneTag)}
    if not named:
        return
    known = {tag.id: tag for tag in was.filter.tags}
    moved = _moved(now, was)
    for tag in now.filter.tags:
        if tag.id not in named:
            continue
        before = known.get(tag.id)
        key = (RESOURCE_KIND_FIREWALL_TAG, tag.id)
        kept = earlier.get(key)
        if (
            kept is not None
            and before is not None
            and (before is tag or before == tag)
            and moved.isdisjoint(tag.peers)
        ):
            into[key] = kept
        else:
            into[key] = _tag(tag, now)


def _moved(now: _Names, was: _Names) -> set[str]:
    """The peers that stand for something else than before."""
    return {
        id_
        for id_ in now.peers.keys() | was.peers.keys()
        if (new := now.peers.get(id_)) is not (old := was.peers.get(id_))
        and prefixes_of(new) != prefixes_of(old)
    }


def _tag(tag: TagIntent, names: _Names) -> pb.FirewallTag:
    members = set(tag.prefixes)
    for id_ in tag.peers:
        members.update(prefixes_of(names.peers.get(id_)))
    # Sorted: equal tags are equal messages, in whichever order their members came.
    return pb.FirewallTag(
        id=tag.id, network_id=names.network_id, name=tag.name, members=sorted(members)
    )


def _served(
    now: _Names, earlier: Mapping[str, Mapping[Key, Resource]]
) -> Mapping[str, Mapping[Key, Resource]]:
    served: dict[str, Resources] = {}
    for mapping in now.filter.mappings:
        hub = now.peers.get(mapping.hub_peer_id)
        internal = _internal_address(mapping, now)
        if not isinstance(hub, PeerIntent) or hub.role is not Role.HUB or internal is None:
            continue
        made = mapping_pb.PortMapping(
            id=mapping.id,
            network_id=now.network_id,
            external_address=mapping.external_address,
            external_port=mapping.external_port,
            protocol=_MAPPING_PROTOCOLS[mapping.protocol],
            internal_address=internal,
            internal_port=mapping.internal_port,
        )
        kept = earlier.get(hub.node_id, {}).get(key_of(made))
        served.setdefault(hub.node_id, {})[key_of(made)] = (
            kept if kept is not None and kept == made else made
        )
    return served


def _internal_address(mapping: MappingIntent, names: _Names) -> str | None:
    match mapping.target:
        case OnePeer(peer_id=id_):
            peer = names.peers.get(id_)
            return None if peer is None else peer.host_address
        case ToVirtualIp(virtual_ip_id=id_):
            return names.virtual_ips.get(id_)
