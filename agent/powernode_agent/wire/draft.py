"""Networks in the making: those that a list of changes touches, and what becomes of them.

Each starts as the network before, if there was one, and takes changes of its own and of the kinds of
resources on it. Networks that nothing touched are not looked at. Route policies of the whole account
are on no network and are kept beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from powernode.sdwan.v1 import bgp_pb2 as bgp_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
from powernode.sdwan.v1 import flannel_pb2 as flannel_pb
from powernode.sdwan.v1 import port_mapping_pb2 as port_mapping_pb
from powernode.sdwan.v1 import virtual_ip_pb2 as virtual_ip_pb
from powernode_agent.model.bgp import BgpInstance, BgpInstanceId
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.firewall import FirewallRuleId, FirewallTagId, check_rule_count
from powernode_agent.model.flannel import FlannelBootstrap, FlannelBootstrapId
from powernode_agent.model.network import Network
from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.route_policy import RoutePolicy, RoutePolicyId
from powernode_agent.model.values import NetworkId, PathId, PeerId
from powernode_agent.model.violation import ModelError, Violation, violation
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.wire.decode_bgp import decode_bgp_instance
from powernode_agent.wire.decode_firewall import decode_firewall_rule, decode_firewall_tag
from powernode_agent.wire.decode_flannel import decode_flannel_bootstrap
from powernode_agent.wire.decode_peer import decode_path, decode_peer
from powernode_agent.wire.decode_port_mapping import decode_port_mapping
from powernode_agent.wire.decode_route_policy import decode_route_policy
from powernode_agent.wire.decode_virtual_ip import decode_virtual_ip
from powernode_agent.wire.kind import AnyKind, KindDraft, afresh
from powernode_agent.wire.resources import (
    BGP_INSTANCE,
    FIREWALL_RULE,
    FIREWALL_TAG,
    FLANNEL_BOOTSTRAP,
    PATH,
    PEER,
    PORT_MAPPING,
    ROUTE_POLICY,
    VIRTUAL_IP,
    NetworkResource,
    Resource,
)


class NetworkDraft:
    """One network in the making."""

    def __init__(self, id_: NetworkId, before: NetworkState | None) -> None:
        self.before = before
        self._id = id_
        self._network = None if before is None else before.network
        self._network_refused = False
        self._peers = KindDraft(
            PEER, pb.Peer, PeerId, afresh(decode_peer), {} if before is None else before.peers
        )
        self._paths = KindDraft(
            PATH, pb.Path, PathId, afresh(decode_path), {} if before is None else before.paths
        )
        self._rules = KindDraft(
            FIREWALL_RULE,
            firewall_pb.FirewallRule,
            FirewallRuleId,
            afresh(decode_firewall_rule),
            {} if before is None else before.firewall_rules,
            check_rule_count,
        )
        self._tags = KindDraft(
            FIREWALL_TAG,
            firewall_pb.FirewallTag,
            FirewallTagId,
            decode_firewall_tag,
            {} if before is None else before.firewall_tags,
        )
        self._mappings = KindDraft(
            PORT_MAPPING,
            port_mapping_pb.PortMapping,
            PortMappingId,
            afresh(decode_port_mapping),
            {} if before is None else before.port_mappings,
        )
        self._virtual_ips = KindDraft(
            VIRTUAL_IP,
            virtual_ip_pb.VirtualIp,
            VirtualIpId,
            afresh(decode_virtual_ip),
            {} if before is None else before.virtual_ips,
        )
        bgp = None if before is None else before.bgp
        self._bgp = KindDraft(
            BGP_INSTANCE,
            bgp_pb.BgpInstance,
            BgpInstanceId,
            afresh(decode_bgp_instance),
            {} if bgp is None else {bgp.id: bgp},
        )
        flannel = None if before is None else before.flannel
        self._flannel = KindDraft(
            FLANNEL_BOOTSTRAP,
            flannel_pb.FlannelBootstrap,
            FlannelBootstrapId,
            afresh(decode_flannel_bootstrap),
            {} if flannel is None else {flannel.id: flannel},
        )
        self._policies = _policies({} if before is None else before.route_policies)
        self._kinds: Mapping[type, AnyKind] = {
            pb.Peer: self._peers,
            pb.Path: self._paths,
            firewall_pb.FirewallRule: self._rules,
            firewall_pb.FirewallTag: self._tags,
            port_mapping_pb.PortMapping: self._mappings,
            virtual_ip_pb.VirtualIp: self._virtual_ips,
            bgp_pb.BgpInstance: self._bgp,
            bgp_pb.RoutePolicy: self._policies,
            flannel_pb.FlannelBootstrap: self._flannel,
        }

    def put_network(self, network: Network | None) -> None:
        """The network itself came or changed; None: it was refused."""
        self._network = self._network if self._network == network else network
        self._network_refused = network is None

    def drop_network(self) -> None:
        """The network itself went."""
        self._network = None

    def put(self, before: Resource | None, after: NetworkResource) -> None:
        """A resource on it came or changed; `before` may have been on another network."""
        self._kinds[type(after)].put(before, after)

    def drop(self, resource: NetworkResource) -> None:
        """A resource on it went."""
        self._kinds[type(resource)].drop(resource.id)

    def settle(self, found: list[Violation]) -> None:
        """Decodes what came."""
        name = f"network {self._id}" if self._network is None else str(self._network)
        for kind in self._kinds.values():
            kind.settle(name, found)

    @property
    def unchanged(self) -> bool:
        """Whether it came out as it was before."""
        return (
            self.before is not None
            and self._network is self.before.network
            and not any(kind.changed for kind in self._kinds.values())
        )

    def finish(self, found: list[Violation]) -> NetworkState | None:
        """The network, or None: it is gone, or at least one violation was added to `found`."""
        if self._network is None:
            if not self._network_refused:
                found.extend(
                    violation(name, "network_id", self._id, "one of the node's networks")
                    for kind in self._kinds.values()
                    for name in kind.named()
                )
            return None
        paths = self._paths.items
        if self._peers.refused:
            # A path to a peer that was refused is not a dangling one: the peer's own violation says it.
            paths = {
                key: path
                for key, path in paths.items()
                if self._peers.refused.isdisjoint(path.candidates)
            }
        try:
            return NetworkState(
                network=self._network,
                peers=self._peers.items,
                paths=paths,
                firewall_rules=self._rules.items,
                firewall_tags=self._tags.items,
                port_mappings=self._mappings.items,
                virtual_ips=self._virtual_ips.items,
                bgp=self._only_bgp(found),
                route_policies=self._policies.items,
                flannel=self._only_flannel(found),
            )
        except ModelError as error:
            found.extend(error.violations)
            return None

    def _only_bgp(self, found: list[Violation]) -> BgpInstance | None:
        """The one instance there may be, without neighbours that were refused as peers: as for paths,
        those are not dangling."""
        if not self._bgp.items:
            return None
        first, *others = self._bgp.items.values()
        found.extend(
            violation(str(other), "network_id", other.network_id, f"none that has {first} already")
            for other in others
        )
        if not self._peers.refused:
            return first
        known = (each for each in first.neighbors if each.peer_id not in self._peers.refused)
        return replace(first, neighbors=tuple(known))

    def _only_flannel(self, found: list[Violation]) -> FlannelBootstrap | None:
        """The one bootstrap there may be: a node is in one k3s cluster."""
        first: FlannelBootstrap | None = None
        for bootstrap in self._flannel.items.values():
            if first is None:
                first = bootstrap
            else:
                expected = f"none that has {first} already"
                found.append(
                    violation(str(bootstrap), "network_id", bootstrap.network_id, expected)
                )
        return first


class Drafts:
    """The networks that a list of changes touches, and the policies of the account."""

    def __init__(self, before: DesiredState | None) -> None:
        self._account_policies = _policies({} if before is None else before.account_policies)
        self._networks = {} if before is None else before.networks
        self._drafts: dict[NetworkId, NetworkDraft] = {}

    def of(self, id_: str) -> NetworkDraft:
        """The draft of one network."""
        key = NetworkId(id_)
        draft = self._drafts.get(key)
        if draft is None:
            draft = self._drafts[key] = NetworkDraft(key, self._networks.get(key))
        return draft

    def put(self, before: Resource | None, after: NetworkResource) -> None:
        """A resource came or changed; it may have been on another network before."""
        if isinstance(before, NetworkResource) and before.network_id != after.network_id:
            self.drop(before)
        if _is_of_account(after):
            self._account_policies.put(before, after)
        else:
            self.of(after.network_id).put(before, after)

    def drop(self, resource: NetworkResource) -> None:
        """A resource went."""
        if _is_of_account(resource):
            self._account_policies.drop(resource.id)
        else:
            self.of(resource.network_id).drop(resource)

    def finish_account_policies(
        self, found: list[Violation]
    ) -> Mapping[RoutePolicyId, RoutePolicy]:
        """The policies of the account without those refused: the same mapping if none changed."""
        self._account_policies.settle("account", found)
        return self._account_policies.items

    def finish(
        self, found: list[Violation]
    ) -> tuple[Mapping[NetworkId, NetworkState], frozenset[NetworkId]]:
        """All networks, without those refused, and the ids of those that are not as before."""
        networks = dict(self._networks)
        changed: set[NetworkId] = set()
        for key, draft in self._drafts.items():
            draft.settle(found)
            if draft.unchanged:
                continue
            state = draft.finish(found)
            if state is not None:
                networks[key] = state
            else:
                networks.pop(key, None)
            if state is not None or draft.before is not None:
                changed.add(key)
        return networks, frozenset(changed)


def _is_of_account(resource: NetworkResource) -> bool:
    return isinstance(resource, bgp_pb.RoutePolicy) and not resource.network_id


def _policies(
    before: Mapping[RoutePolicyId, RoutePolicy],
) -> KindDraft[bgp_pb.RoutePolicy, RoutePolicyId, RoutePolicy]:
    return KindDraft(
        ROUTE_POLICY, bgp_pb.RoutePolicy, RoutePolicyId, afresh(decode_route_policy), before
    )
