"""Blocks of rules as chains and maps of nftables. Pure.

A chain's name carries the digest of its content, so that what stays the same keeps its name and is not
sent again, and two peers with the same ports share one chain. A few pieces stand as lines, many as a
named map: an anonymous set for every chain would make the kernel's list of sets as long as the list of
rules, and each later change would pay for reading it (measured: 0.4 ms a set to load, 0.15 ms to list).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final

from powernode_agent.firewall.blocks import AddressBlock, Block
from powernode_agent.firewall.ports import LAST_PORT, Leaf, Outcome, Piece, PortTable
from powernode_agent.model.firewall import FirewallAction, FirewallRule, FirewallTagId
from powernode_agent.model.ruleset import Chain, ElementMap, Line, RulesetObject
from powernode_agent.model.values import Prefix

_FEW: Final = 6
"""Pieces or ranges that stand as lines; comparing so many costs a packet no more than one lookup."""
_INLINE: Final = 2
"""Lines of a chain that are written out in place of a jump to it."""

TagSets = Mapping[FirewallTagId, Mapping[int, tuple[str, ...]]]
"""Names of the sets that hold a tag's members, by IP version; a tag without members has none."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where the other end's address stands in a packet: "saddr" for ingress, "daddr" for egress."""

    word: str
    name: str
    """Of the direction, in names of chains: "in" or "out"."""


INGRESS: Final = Side("saddr", "in")
EGRESS: Final = Side("daddr", "out")


@dataclass(slots=True)
class Writer:
    """Renders the blocks of one network; `objects` fills up with what the lines refer to.

    `prefix` opens every name, such as "n_core_".
    """

    prefix: str
    tag_sets: TagSets
    objects: dict[str, RulesetObject] = field(default_factory=dict)

    @property
    def drop(self) -> str:
        """What discards a packet and counts it."""
        return f"goto {self.prefix}drop"

    @property
    def reject(self) -> str:
        """What discards a packet, counts it and tells the sender."""
        return f"goto {self.prefix}reject"

    def verdict(self, action: FirewallAction) -> str:
        """An action, as a rule or an element says it."""
        match action:
            case FirewallAction.ACCEPT:
                return "accept"
            case FirewallAction.DROP:
                return self.drop
            case FirewallAction.REJECT:
                return self.reject

    def lines(
        self, rules: Sequence[FirewallRule], found: Iterable[Block], side: Side
    ) -> list[Line]:
        """The lines that look all `found` blocks up, in order; `rules` are those they were made of."""
        lines: list[Line] = []
        for number, block in enumerate(found):
            name = f"{self.prefix}{side.name}_{number}"
            if isinstance(block, AddressBlock):
                lines += self._address_lines(block, side, name)
            else:
                lines += self._table_lines(block.table, side, partial(_always, name), None)
        return lines

    def chain(self, name: str, lines: Iterable[Line]) -> None:
        """Adds a chain with a name of its own."""
        self.objects[name] = Chain(name, tuple(lines))

    # Addresses.

    def _address_lines(self, block: AddressBlock, side: Side, name: str) -> list[Line]:
        lines: list[Line] = []
        for version, ranges in block.ranges.items():
            contents = {
                rules: self._table_lines(block.tables[rules], side, self._by_content, version)
                for rules in {each.rules: None for each in ranges}
            }
            # A table may have nothing to say, as when its only rule asks for an empty tag.
            spoken = [each for each in ranges if contents[each.rules]]
            match = f"{'ip6' if version == 6 else 'ip'} {side.word}"
            if len(spoken) <= _FEW:
                for each in spoken:
                    where = _range_text(version, each.first, each.last)
                    lines += self._in_place(f"{match} {where} ", contents[each.rules])
                continue
            hosts: dict[str, str] = {}
            others: dict[str, str] = {}
            for each in spoken:
                kept = hosts if each.first == each.last else others
                key = _range_text(version, each.first, each.last)
                kept[key] = self._target(contents[each.rules])
            for kind, entries, interval in (("hosts", hosts, False), ("nets", others, True)):
                if entries:
                    map_name = f"{name}_{kind}{version}"
                    self._map(map_name, f"ipv{version}_addr", entries, interval=interval)
                    lines.append(Line(f"{match} vmap @{map_name}"))
        return lines

    def _in_place(self, match: str, content: Sequence[Line]) -> Iterator[Line]:
        if len(content) <= _INLINE:
            for line in content:
                yield Line(match + line.text, line.origin)
        else:
            yield Line(match + self._target(content), content[0].origin)

    def _target(self, content: Sequence[Line]) -> str:
        """What an element leads to: a verdict that stands alone, or a chain of these lines."""
        if len(content) == 1 and content[0].text in ("accept", self.drop, self.reject):
            return content[0].text
        name = self._by_content("\n".join(line.text for line in content))
        self.chain(name, content)
        return f"jump {name}"

    # Ports.

    def _table_lines(
        self, table: PortTable, side: Side, name_for: Callable[[str], str], version: int | None
    ) -> list[Line]:
        """A table; `name_for` names its maps, given their content. `version`: of IP, where only packets
        of that one come, None: both do. nft refuses to ask a packet of one for an address of the other.
        """
        lines: list[Line] = []
        for protocol, pieces in (("tcp", table.tcp), ("udp", table.udp)):
            # What is as for every protocol is left to the last lines.
            own = [piece for piece in pieces if piece.leaf != table.other]
            if len(own) <= _FEW:
                for piece in own:
                    match = f"{protocol} dport {_ports_text(piece)} "
                    if (piece.first, piece.last) == (0, LAST_PORT):
                        match = f"meta l4proto {protocol} "
                    content = self._leaf_lines(piece.leaf, side, piece.origin, version)
                    lines += self._in_place(match, content)
            else:
                entries = {
                    _ports_text(piece): self._target(content)
                    for piece in own
                    if (content := self._leaf_lines(piece.leaf, side, piece.origin, version))
                }
                interval = any("-" in key for key in entries)
                # Ranges make it a map of another kind, which takes another name.
                kind = f"{protocol}_ranges" if interval else protocol
                name = f"{name_for(repr(entries))}_{kind}"
                if entries:
                    self._map(name, "inet_service", entries, interval=interval)
                    lines.append(Line(f"{protocol} dport vmap @{name}"))
        if table.icmp6 != table.other and version != 4:
            # Of IPv6 only: what IPv4 calls protocol 58 is nothing that icmp6 means.
            content = self._leaf_lines(table.icmp6, side, table.icmp6_origin, 6)
            lines += self._in_place("meta nfproto ipv6 meta l4proto ipv6-icmp ", content)
        lines += self._leaf_lines(table.other, side, table.other_origin, version)
        return lines

    def _leaf_lines(self, leaf: Leaf, side: Side, origin: str, version: int | None) -> list[Line]:
        lines: list[Line] = []
        for outcome in leaf:
            lines += [
                Line(f"{condition}{self.verdict(outcome.action)}", origin)
                for condition in self._conditions(outcome, side, version)
            ]
        return lines

    def _conditions(self, outcome: Outcome, side: Side, only: int | None) -> Iterator[str]:
        """What to ask before the action, one text for each way to meet it; none: nobody can."""
        if outcome.tag is None and not outcome.destinations:
            yield ""
            return
        destinations = _by_version(outcome.destinations) if outcome.destinations else {}
        sets = {} if outcome.tag is None else self.tag_sets.get(outcome.tag, {})
        for version in (6, 4) if only is None else (only,):
            if outcome.destinations and version not in destinations:
                continue
            family = _family(version)
            tail = f"{family} daddr {destinations[version]} " if destinations else ""
            if outcome.tag is None:
                yield tail
            for name in sets.get(version, ()):
                yield f"{family} {side.word} @{name} {tail}"

    def _map(self, name: str, key: str, entries: Mapping[str, str], *, interval: bool) -> None:
        self.objects[name] = ElementMap(name, key, "verdict", interval, entries)

    def _by_content(self, content: str) -> str:
        return f"{self.prefix}{digest(content)}"


def digest(content: str) -> str:
    """What names of things go by that are known by their content: 12 hexadecimal digits."""
    return sha256(content.encode()).hexdigest()[:12]


def _always(name: str, content: str) -> str:
    return name


def _by_version(prefixes: Iterable[Prefix]) -> dict[int, str]:
    """Prefixes as nft writes them, by IP version; overlapping ones would be refused."""
    prefixes = list(prefixes)
    six = collapse_addresses(each for each in prefixes if isinstance(each, IPv6Network))
    four = collapse_addresses(each for each in prefixes if isinstance(each, IPv4Network))
    found: dict[int, str] = {}
    for version, texts in ((6, list(map(str, six))), (4, list(map(str, four)))):
        if texts:
            found[version] = texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
    return found


def _family(version: int) -> str:
    return "ip6" if version == 6 else "ip"


def _ports_text(piece: Piece) -> str:
    return str(piece.first) if piece.first == piece.last else f"{piece.first}-{piece.last}"


def _range_text(version: int, first: int, last: int) -> str:
    """One address, a prefix where the range is one, or the two ends."""
    size = last - first + 1
    if size == 1:
        return _address_text(version, first)
    if size & (size - 1) == 0 and first % size == 0:
        width = 128 if version == 6 else 32
        return f"{_address_text(version, first)}/{width - size.bit_length() + 1}"
    return f"{_address_text(version, first)}-{_address_text(version, last)}"


def _address_text(version: int, number: int) -> str:
    if version == 6:
        return inet_ntop(AF_INET6, number.to_bytes(16, "big"))
    return inet_ntop(AF_INET, number.to_bytes(4, "big"))
