"""The filter of one network as a fragment of our table. Pure.

Ingress is what arrives by the network's link (to the node and through it), egress what leaves by it;
a packet that a hub forwards on the same link passes both, each once. What belongs to a conversation
that was let in passes first, so that the cost of rules is paid once a flow. Then what the overlay
itself lives on (ICMP errors, our probes, BGP and BFD of our neighbours), then the rules, then the
policy.

Every line is scoped by a link's name: what does not cross a link of ours is never looked at, and
there is no policy on any hook that could lock an operator out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Network
from typing import Final

from powernode_agent.firewall.blocks import blocks
from powernode_agent.firewall.federation import federation_lines
from powernode_agent.firewall.members import disjoint
from powernode_agent.firewall.render import EGRESS, INGRESS, Side, TagSets, Writer, digest
from powernode_agent.firewall.shadow import Shadow, shadowed
from powernode_agent.firewall.verdict import rules_of
from powernode_agent.model.federation import federation_peers
from powernode_agent.model.firewall import (
    FirewallAction,
    FirewallDirection,
    FirewallRule,
    FirewallTag,
    FirewallTagId,
    TagSelector,
)
from powernode_agent.model.network import Network, PeerKind, RoutingMode
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.probe import PROBE_MARK, PROBE_MARK_BITS, PROBE_MARK_OFFSET
from powernode_agent.model.ruleset import (
    Counter,
    Fragment,
    Hook,
    Line,
    PrefixSet,
    RulesetObject,
)
from powernode_agent.model.values import Prefix

_ICMP_ERRORS: Final = (
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept",
    "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
)
"""Without them a path's MTU is never found (RFC 4890, section 4.3.1)."""
_IPV6_OVERHEAD: Final = 60
_IPV4_OVERHEAD: Final = 40
"""Bytes of IP and TCP header that a segment of the link's MTU carries."""


@dataclass(frozen=True)
class Filter:
    """One network's filter. `rules` and `tags` are those it was made of, for the next compilation."""

    fragment: Fragment
    shadows: tuple[Shadow, ...]
    frame: tuple[object, ...]
    tags: Mapping[FirewallTagId, FirewallTag]
    tag_objects: Mapping[FirewallTagId, Mapping[str, PrefixSet]]
    chains: Mapping[str, RulesetObject]
    rule_count: int
    counter: str
    """Name of what counts the packets it drops and rejects."""


def compile_filter(
    state: NetworkState,
    others: Sequence[Network],
    mtu: int | None,
    before: Filter | None = None,
) -> Filter:
    """The filter of a network on a node that is also on `others`; `mtu` of its link, None: unknown.

    `before` is any earlier result for the network; what cannot have changed since is taken from it. A
    tag that gained a member costs the sets of that tag and nothing else.
    """
    named = {
        rule.selector.tag_id
        for rule in state.firewall_rules.values()
        if isinstance(rule.selector, TagSelector)
    }
    tags = {id_: tag for id_, tag in state.firewall_tags.items() if id_ in named}
    prefix = f"n_{state.network.handle}_"
    tag_objects = {
        id_: before.tag_objects[id_]
        if before is not None and before.tags.get(id_) is tag
        else _moved_tag_sets(before, tag) or _tag_sets(prefix, tag)
        for id_, tag in tags.items()
    }
    names: TagSets = {id_: _by_version(sets) for id_, sets in tag_objects.items()}
    # Everything else that chains and hooks depend on; compared by value, mostly by identity.
    gateways = tuple(federation_peers(state.peers.values()))
    frame = (
        *(state.network, tuple(others), mtu, state.firewall_rules, state.forwards, names),
        gateways,
    )
    if before is not None and before.frame == frame:
        chains, hooks = before.chains, before.fragment.hooks
        shadows = before.shadows
    else:
        chains, hooks, shadows = _chains(state, others, mtu, names, prefix)
    objects: dict[str, RulesetObject] = dict(chains)
    for sets in tag_objects.values():
        objects.update(sets)
    if f"{prefix}peers" in objects:
        # Only where somebody asks: of 2,000 peers these are milliseconds, at each change of one.
        peers = frozenset[Prefix](
            IPv6Network((int(peer.host_address), 128))
            for peer in state.peers.values()
            if peer.kind is not PeerKind.FEDERATION
        )
        objects[f"{prefix}peers"] = PrefixSet(f"{prefix}peers", 6, False, peers)
    policy = state.network.firewall_policy
    guards = bool(state.firewall_rules or gateways) or any(
        action is not FirewallAction.ACCEPT for action in (policy.ingress, policy.egress)
    )
    return Filter(
        Fragment(state.network.id, objects, hooks, guards, _shut(state.network) if guards else {}),
        shadows,
        frame,
        tags,
        tag_objects,
        chains,
        len(state.firewall_rules),
        f"{prefix}dropped",
    )


def _chains(
    state: NetworkState, others: Sequence[Network], mtu: int | None, names: TagSets, prefix: str
) -> tuple[Mapping[str, RulesetObject], Mapping[Hook, tuple[Line, ...]], tuple[Shadow, ...]]:
    network = state.network
    writer = Writer(prefix, names)
    ingress = rules_of(state, FirewallDirection.INGRESS)
    egress = rules_of(state, FirewallDirection.EGRESS)
    policy = network.firewall_policy
    filters_in = bool(ingress) or policy.ingress is not FirewallAction.ACCEPT
    filters_out = bool(egress) or policy.egress is not FirewallAction.ACCEPT
    hooks: dict[Hook, tuple[Line, ...]] = {}
    arriving = f'iifname "{network.link}"'
    leaving = f'oifname "{network.link}"'

    def hook(hook: Hook, scope: str, chain: str, lines: list[Line]) -> None:
        if lines:
            writer.chain(f"{prefix}{chain}", lines)
            hooks[hook] = (Line(f"{scope} goto {prefix}{chain}"),)

    federation = federation_lines(writer, federation_peers(state.peers.values()))
    into = [Line(f"goto {prefix}in")] if filters_in else []
    out = [Line(f"goto {prefix}out")] if filters_out else []
    if filters_in:
        writer.chain(f"{prefix}in", _direction(writer, ingress, INGRESS, policy.ingress))
    if filters_out:
        writer.chain(f"{prefix}out", _direction(writer, egress, EGRESS, policy.egress))
    hook(
        Hook.INPUT,
        arriving,
        "input",
        _foreign_addresses(writer, others)
        + [*federation.probes_in, *federation.arriving]
        + (_control(network, prefix, INGRESS) if filters_in else [])
        + into,
    )
    hook(
        Hook.OUTPUT,
        leaving,
        "output",
        ([*federation.probes_out, *_control(network, prefix, EGRESS)] if filters_out else []) + out,
    )
    hook(
        Hook.FORWARD_INGRESS,
        arriving,
        "forward",
        [*_foreign_links(writer, others), *federation.arriving, *into],
    )
    if out:
        hooks[Hook.FORWARD_EGRESS] = (Line(f"{leaving} goto {prefix}out"),)
    if state.forwards:
        hooks[Hook.CLAMP] = _clamp(arriving, leaving, mtu)
    if writer.objects:
        _endings(writer)
    if filters_in or filters_out:
        # Its members are filled in by the caller: they come and go without the chains.
        writer.objects[f"{prefix}peers"] = PrefixSet(f"{prefix}peers", 6, False, frozenset())
    shadows = (
        *shadowed(ingress, FirewallDirection.INGRESS),
        *shadowed(egress, FirewallDirection.EGRESS),
    )
    return writer.objects, hooks, shadows


def _direction(
    writer: Writer, rules: Sequence[FirewallRule], side: Side, policy: FirewallAction
) -> list[Line]:
    lines = [Line("ct state established,related accept")]
    lines += [Line(text) for text in _ICMP_ERRORS]
    lines += writer.lines(rules, blocks(rules), side)
    lines.append(Line(writer.verdict(policy), "the policy of the network"))
    return lines


def _control(network: Network, prefix: str, side: Side) -> list[Line]:
    """What our own agents and daemons say to each other, between addresses of this network only."""
    peers = f"ip6 {side.word} @{prefix}peers"
    lines = [
        Line(
            f"{peers} icmpv6 type echo-request"
            f" @th,{PROBE_MARK_OFFSET},{PROBE_MARK_BITS} {PROBE_MARK:#x} accept"
        )
    ]
    if network.routing_mode is RoutingMode.IBGP:
        lines += [
            Line(f"{peers} tcp dport 179 accept"),
            Line(f"{peers} udp dport {{ 3784, 3785, 4784 }} accept"),
        ]
    return lines


def _foreign_addresses(writer: Writer, others: Sequence[Network]) -> list[Line]:
    """A host answers for any of its addresses on any link; another overlay's are not for this one. By
    prefix, and so whatever virtual IPs the host comes to hold."""
    own: list[str] = [str(other.prefix) for other in others]
    own_ipv4 = [str(o.overlay_ipv4_prefix) for o in others if o.overlay_ipv4_prefix]
    lines: list[Line] = []
    for family, addresses in (("ip6", own), ("ip", own_ipv4)):
        if addresses:
            lines.append(Line(f"{family} daddr {_any_of(addresses)} {writer.drop}"))
    return lines


def _foreign_links(writer: Writer, others: Sequence[Network]) -> list[Line]:
    links = [f'"{other.link}"' for other in others]
    return [Line(f"oifname {_any_of(links)} {writer.drop}")] if links else []


def _clamp(arriving: str, leaving: str, mtu: int | None) -> tuple[Line, ...]:
    """TCP over the link never needs more than fits (the kernel only ever lowers the option): towards it
    by the route's MTU, which knows of smaller paths; from it by the link's own, once that is known."""
    syn = "tcp flags & (syn|rst) == syn tcp option maxseg size set"
    towards = Line(f"{leaving} {syn} rt mtu")
    if mtu is None:
        return (towards,)
    return (
        towards,
        Line(f"{arriving} meta nfproto ipv6 {syn} {mtu - _IPV6_OVERHEAD}"),
        Line(f"{arriving} meta nfproto ipv4 {syn} {mtu - _IPV4_OVERHEAD}"),
    )


def _endings(writer: Writer) -> None:
    """Where dropped and rejected packets end; both count."""
    prefix = writer.prefix
    counter = f"{prefix}dropped"
    counted = Line(f'counter name "{counter}"')
    writer.objects[counter] = Counter(counter)
    writer.chain(f"{prefix}drop", [counted, Line("drop")])
    writer.chain(
        f"{prefix}reject",
        [
            counted,
            Line("meta l4proto tcp reject with tcp reset"),
            Line("reject with icmpx type admin-prohibited"),
        ],
    )


def _shut(network: Network) -> Mapping[Hook, tuple[Line, ...]]:
    """Nothing crosses the link: better no overlay than one whose rules do not hold."""
    arriving = (Line(f'iifname "{network.link}" drop'),)
    leaving = (Line(f'oifname "{network.link}" drop'),)
    return {
        Hook.INPUT: arriving,
        Hook.OUTPUT: leaving,
        Hook.FORWARD_INGRESS: arriving,
        Hook.FORWARD_EGRESS: leaving,
    }


def _any_of(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(sorted(texts))} }}"


def _tag_sets(prefix: str, tag: FirewallTag) -> Mapping[str, PrefixSet]:
    """A tag's members, addresses apart from wider prefixes: the kernel finds an address in a set of
    addresses at once, and one more costs the same whatever there is."""
    # Names of tags are an operator's own words; in nft they would need quoting that it does not have.
    name = f"{prefix}tag_{re.sub(r'[^A-Za-z0-9]', '-', tag.name)[:20]}_{digest(tag.id)[:8]}"
    sets: dict[str, PrefixSet] = {}
    for version in (6, 4):
        full = 128 if version == 6 else 32
        mine = [member for member in tag.members if member.version == version]
        hosts = frozenset(member for member in mine if member.prefixlen == full)
        nets = disjoint([member for member in mine if member.prefixlen != full])
        for kind, interval, members in (("hosts", False, hosts), ("nets", True, nets)):
            if members:
                full_name = f"{name}_{kind}{version}"
                sets[full_name] = PrefixSet(full_name, version, interval, members, str(tag))
    return sets


def _moved_tag_sets(before: Filter | None, tag: FirewallTag) -> Mapping[str, PrefixSet] | None:
    """The sets of a tag after addresses joined or left, from what they were before: of 10,000 members
    only those that moved are looked at. None: it takes more than that."""
    earlier = None if before is None else before.tags.get(tag.id)
    if before is None or earlier is None or earlier.name != tag.name:
        return None
    sets = dict(before.tag_objects[tag.id])
    joined, left = tag.members - earlier.members, earlier.members - tag.members
    for name, each in sets.items():
        come = {member for member in joined if member.version == each.version}
        gone = {member for member in left if member.version == each.version}
        if not come and not gone:
            continue
        if each.interval or not all(m.prefixlen == m.max_prefixlen for m in come | gone):
            return None
        members = (each.members | come) - gone
        if not members:
            return None
        sets[name] = replace(each, members=members)
        joined, left = joined - come, left - gone
    return None if joined or left else sets


def _by_version(sets: Mapping[str, PrefixSet]) -> Mapping[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for each in sets.values():
        found[each.version] = (*found.get(each.version, ()), each.name)
    return found
