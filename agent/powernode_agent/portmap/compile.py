"""Port mappings as fragments of our nftables table. Pure.

An external side is looked up once for each connection, in a verdict map of address and port; its chain
counts the connection and rewrites the destination. The lookup hangs in prerouting for traffic from
anywhere, the inside of the overlay included, and in output for the hub's own. What then leaves by the
overlay link gets the hub's own overlay address as source, if and only if its original destination is
one of ours: what others rewrite on this host is left alone.

IPv4 outside to IPv6 inside is rewritten twice, before and after the NAT64 (`translator`): to its one
address and a port that stands for the mapping, and from there to the target. What passes by the NAT64
without being rewritten by somebody is dropped, so that it is no open relay, and so is what is meant for
it while it is away, which would leave by the default route. Not rejected: it is back within a second,
and flows that were told nothing go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.ruleset import (
    Chain,
    Counter,
    ElementMap,
    Fragment,
    Hook,
    Line,
    RulesetObject,
)
from powernode_agent.model.values import Address, Endpoint, NetworkId
from powernode_agent.portmap.translator import INSIDE_IPV4, INSIDE_IPV6, LINK

_REWRITTEN: Final = "ct status dnat"
_NOT_REWRITTEN: Final = "ct status & dnat == 0"


class Flow(NamedTuple):
    """Where packets are sent to."""

    protocol: MappingProtocol
    address: Address
    port: int


@dataclass(frozen=True)
class MappedNetwork:
    """The mappings of one network that are applied.

    `translations`: what is rewritten into what. `counters`: of each mapping the name of its counter of
    connections. `by_nat64`: those that need the NAT64. `outside_ipv4`: the IPv4 addresses at which
    packets come in that are to be forwarded.
    """

    fragment: Fragment
    translations: Mapping[Flow, Flow]
    counters: Mapping[PortMappingId, str]
    by_nat64: frozenset[PortMappingId]
    outside_ipv4: frozenset[IPv4Address]


def needs_nat64(mapping: PortMapping) -> bool:
    """Whether it leads from IPv4 to IPv6."""
    return mapping.external_address.version == 4 and mapping.internal_address.version == 6


def compile_mappings(
    states: Mapping[NetworkId, NetworkState], refused: Collection[PortMappingId]
) -> Mapping[NetworkId, MappedNetwork]:
    """One for each network that has mappings which are not `refused`."""
    # Of the refused ones too: one that comes and goes must not move the ports of the others.
    ports = intermediate_ports(
        [mapping for state in states.values() for mapping in state.port_mappings.values()]
    )
    found: dict[NetworkId, MappedNetwork] = {}
    for network_id, state in states.items():
        mappings = sorted(
            (each for each in state.port_mappings.values() if each.id not in refused),
            key=lambda each: each.id,
        )
        if mappings:
            found[network_id] = _Writer(state.network, ports).write(mappings)
    return found


def intermediate_ports(mappings: Collection[PortMapping]) -> Mapping[PortMappingId, int]:
    """The port inside the NAT64 of each mapping that needs it: its external port or, where two
    external addresses share that, another. A function of the set, whatever its order."""
    ports: dict[PortMappingId, int] = {}
    for protocol in MappingProtocol:
        mine = sorted(
            (each for each in mappings if each.protocol is protocol and needs_nat64(each)),
            key=lambda each: each.id,
        )
        taken: dict[int, PortMappingId] = {}
        for mapping in mine:
            taken.setdefault(mapping.external_port, mapping.id)
        for mapping in mine:
            port = mapping.external_port
            if taken[port] != mapping.id:
                # From a place of its own, so that one more mapping seldom moves another's port.
                port = int.from_bytes(sha256(mapping.id.encode()).digest()[:2], "big")
                while port == 0 or port in taken:
                    port = (port + 1) & 0xFFFF
                taken[port] = mapping.id
            ports[mapping.id] = port
    return ports


class _Map(NamedTuple):
    """A map of ours: the end of its name, and the nft types of its keys and values."""

    stem: str
    key: str
    value: str


class _Writer:
    """Renders the mappings of one network."""

    def __init__(self, network: Network, ports: Mapping[PortMappingId, int]) -> None:
        self._network = network
        self._ports = ports
        self._prefix = f"n_{network.handle}_map_"
        self._objects: dict[str, RulesetObject] = {}
        self._translations: dict[Flow, Flow] = {}
        self._maps: dict[_Map, dict[str, str]] = {}
        self._origins: dict[_Map, dict[str, str]] = {}

    def write(self, mappings: Collection[PortMapping]) -> MappedNetwork:
        counters: dict[PortMappingId, str] = {}
        by_nat64: set[PortMappingId] = set()
        outside: set[IPv4Address] = set()
        for mapping in mappings:
            name = self._prefix + sha256(mapping.id.encode()).hexdigest()[:12]
            self._objects[name] = Counter(name)
            counters[mapping.id] = name
            outer = Flow(mapping.protocol, mapping.external_address, mapping.external_port)
            target = Flow(mapping.protocol, mapping.internal_address, mapping.internal_port)
            if isinstance(mapping.external_address, IPv4Address):
                outside.add(mapping.external_address)
            if needs_nat64(mapping):
                by_nat64.add(mapping.id)
                port = self._ports[mapping.id]
                inner = Flow(mapping.protocol, INSIDE_IPV6, port)
                lookup = _Map(f"nat64_{mapping.protocol.value}", "inet_service", "verdict")
                self._outer(mapping, outer, outer._replace(address=INSIDE_IPV4, port=port), name)
                self._rewrite(mapping, inner, target, f"{name}_inside", "", (lookup, str(port)))
                self._send_as_hub(mapping, inner)
            else:
                self._outer(mapping, outer, target, name)
                self._send_as_hub(mapping, outer)
        hooks = self._hooks()
        if by_nat64:
            _guard_nat64(hooks)
        for kind, entries in self._maps.items():
            name = self._prefix + kind.stem
            self._objects[name] = ElementMap(
                name, kind.key, kind.value, False, entries, self._origins[kind]
            )
        return MappedNetwork(
            Fragment(
                self._network.id,
                self._objects,
                {hook: tuple(lines) for hook, lines in hooks.items() if lines},
            ),
            self._translations,
            counters,
            frozenset(by_nat64),
            frozenset(outside),
        )

    def _outer(self, mapping: PortMapping, sent: Flow, to: Flow, name: str) -> None:
        """What outsiders send; it is counted."""
        lookup = _outer_map(sent.protocol, sent.address.version)
        count = f'counter name "{name}" '
        self._rewrite(mapping, sent, to, f"{name}_to", count, (lookup, _element(sent)))

    def _rewrite(
        self,
        mapping: PortMapping,
        sent: Flow,
        to: Flow,
        chain: str,
        count: str,
        found_by: tuple[_Map, str],
    ) -> None:
        """Packets to `sent`, which a map finds by an element, go to `to`."""
        self._translations[sent] = to
        family = _family(to.address.version)
        text = (
            f"meta l4proto {to.protocol.value} {count}"
            f"dnat {family} to {Endpoint(to.address, to.port)}"
        )
        self._objects[chain] = Chain(chain, (Line(text, str(mapping)),))
        self._element(mapping, *found_by, f"jump {chain}")

    def _send_as_hub(self, mapping: PortMapping, sent: Flow) -> None:
        """What was sent to `sent` leaves by the overlay link as the hub's own."""
        own = self._network.interface
        source = own.address if sent.address.version == 6 else own.overlay_ipv4
        if source is not None:  # without one the target is the hub itself (`clashes`)
            kind = _source_map(sent.protocol, sent.address.version)
            self._element(mapping, kind, _element(sent), str(source))

    def _element(self, mapping: PortMapping, kind: _Map, key: str, value: str) -> None:
        self._maps.setdefault(kind, {})[key] = value
        self._origins.setdefault(kind, {})[key] = str(mapping)

    def _hooks(self) -> dict[Hook, list[Line]]:
        incoming: list[Line] = []
        local: list[Line] = []
        leaving: list[Line] = []
        for protocol in MappingProtocol:
            word = protocol.value
            for version in (4, 6):
                family = _family(version)
                kind = _outer_map(protocol, version)
                if kind in self._maps:
                    look_up = f"{family} daddr . {word} dport vmap @{self._prefix}{kind.stem}"
                    incoming.append(Line(look_up))
                    local.append(Line(look_up))
                kind = _source_map(protocol, version)
                if kind in self._maps:
                    leaving.append(
                        Line(
                            f'oifname "{self._network.link}" {_REWRITTEN} meta l4proto {word}'
                            f" snat {family} to ct original {family} daddr . ct original proto-dst"
                            f" map @{self._prefix}{kind.stem}"
                        )
                    )
            stem = f"nat64_{word}"
            if any(kind.stem == stem for kind in self._maps):
                incoming.append(
                    Line(
                        f'iifname "{LINK}" ip6 daddr {INSIDE_IPV6} {word} dport'
                        f" vmap @{self._prefix}{stem}"
                    )
                )
        return {Hook.DNAT: incoming, Hook.DNAT_LOCAL: local, Hook.SNAT: leaving}


def _outer_map(protocol: MappingProtocol, version: int) -> _Map:
    return _Map(f"{protocol.value}{version}", f"ipv{version}_addr . inet_service", "verdict")


def _source_map(protocol: MappingProtocol, version: int) -> _Map:
    address = f"ipv{version}_addr"
    return _Map(f"from_{protocol.value}{version}", f"{address} . inet_service", address)


def _element(sent: Flow) -> str:
    return f"{sent.address} . {sent.port}"


def _family(version: int) -> str:
    return "ip6" if version == 6 else "ip"


def _guard_nat64(hooks: dict[Hook, list[Line]]) -> None:
    """Nothing goes through the NAT64 that no mapping sends there. Each network that uses it says so;
    ours are the only links named, and what another network's mapping sends has been rewritten too."""
    hooks[Hook.INPUT] = [Line(f'iifname "{LINK}" {_NOT_REWRITTEN} drop')]
    hooks[Hook.FORWARD_INGRESS] = [Line(f'iifname "{LINK}" {_NOT_REWRITTEN} drop')]
    hooks[Hook.FORWARD_EGRESS] = [
        Line(f'oifname "{LINK}" {_NOT_REWRITTEN} drop'),
        Line(f'ip daddr {INSIDE_IPV4} oifname != "{LINK}" drop'),
    ]
