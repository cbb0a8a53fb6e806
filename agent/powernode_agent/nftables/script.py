"""The text that nftables is given, and of each of its lines whose it is. Pure.

A script is written an object at a time: of 15,000 lines, what is kept beside the text is where each
object begins, so that what nftables says of line 512 becomes the name of a rule.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final, NamedTuple

from powernode_agent.model.ruleset import (
    Chain,
    Counter,
    ElementMap,
    Hook,
    Line,
    PrefixSet,
    RulesetObject,
)
from powernode_agent.model.values import NetworkId, Prefix

TABLE: Final = "powernode_sdwan"
FULL_NAME: Final = f"inet {TABLE}"

_BASES: Final[Mapping[Hook, str]] = {
    Hook.CLAMP: "type filter hook forward priority mangle",
    Hook.INPUT: "type filter hook input priority filter",
    Hook.OUTPUT: "type filter hook output priority filter",
    Hook.FORWARD_INGRESS: "type filter hook forward priority filter",
    # After the other one: its accept ends only itself, and the packet comes here.
    Hook.FORWARD_EGRESS: "type filter hook forward priority filter + 1",
    Hook.DNAT: "type nat hook prerouting priority dstnat",
    # By number: nft 1.0.6 knows the name dstnat in prerouting only.
    Hook.DNAT_LOCAL: "type nat hook output priority -100",
    Hook.SNAT: "type nat hook postrouting priority srcnat",
}
"""Every policy is accept: a literal drop on a hook would lock operators out (field notes)."""


class Key(NamedTuple):
    """Whose a fragment is: a room, and the network it is for."""

    room: str
    network: NetworkId


class HookLine(NamedTuple):
    """A line of a base chain, and the fragment that put it there."""

    owner: Key
    line: Line


@dataclass(frozen=True, slots=True)
class _Part:
    """What begins at a line: `origins` of the lines that follow, one each."""

    first: int
    owner: Key | None
    origins: tuple[str, ...]


@dataclass(slots=True)
class Script:
    """Lines of nft."""

    lines: list[str] = field(default_factory=list)
    _parts: list[_Part] = field(default_factory=list)

    def add(self, text: str, owner: Key | None = None, origin: str = "") -> None:
        """One line."""
        self._begin(owner, (origin,) if origin else ())
        self.lines.append(text)

    def text(self) -> str:
        """What libnftables is given."""
        return "\n".join(self.lines) + "\n"

    def owner(self, line: int) -> tuple[Key | None, str]:
        """Whose line that is, counted from 1, and what it came from."""
        at = bisect_right(self._parts, line - 1, key=lambda part: part.first) - 1
        if at < 0 or line > len(self.lines):
            return None, ""
        part = self._parts[at]
        place = line - 1 - part.first
        return part.owner, part.origins[place] if place < len(part.origins) else ""

    def declare(self, each: RulesetObject, owner: Key) -> None:
        """A new object, or the lines of a chain that was emptied; inside the table's braces."""
        match each:
            case Chain(name=name, lines=lines):
                self._begin(owner, ("", *(line.origin for line in lines)))
                self.lines.append(f"chain {name} {{")
                self.lines += [line.text for line in lines]
                self.lines.append("}")
            case Counter(name=name):
                self.add(f"counter {name} {{ }}", owner)
            case PrefixSet():
                kind = f"set {each.name} {{ type ipv{each.version}_addr;"
                self._declare(kind, each.interval, member_texts(each.members), owner, each.origin)
            case ElementMap():
                kind = f"map {each.name} {{ type {each.key} : {each.value};"
                self._declare(kind, each.interval, entry_texts(each.entries.items()), owner, "")

    def base(self, hook: Hook, lines: Iterable[HookLine]) -> None:
        """A base chain with all its lines; inside the table's braces."""
        self.add(f"chain {hook.value} {{")
        self.add(f"{_BASES[hook]}; policy accept;")
        for owner, line in lines:
            self.add(line.text, owner, line.origin)
        self.add("}")

    def _declare(
        self, kind: str, interval: bool, elements: Iterable[str], owner: Key, origin: str
    ) -> None:
        self._begin(owner, (origin,))
        flags = " flags interval;" if interval else ""
        # In order, so that the same set is the same text.
        joined = ", ".join(sorted(elements))
        held = f" elements = {{ {joined} }};" if joined else ""
        self.lines.append(f"{kind}{flags}{held} }}")

    def _begin(self, owner: Key | None, origins: tuple[str, ...]) -> None:
        self._parts.append(_Part(len(self.lines), owner, origins))


def member_texts(members: Iterable[Prefix]) -> Iterator[str]:
    """Prefixes as elements; `ipaddress` takes ten times as long over 10,000 of them."""
    for member in members:
        packed = member.network_address.packed
        text = inet_ntop(AF_INET6 if len(packed) == 16 else AF_INET, packed)
        length = member.prefixlen
        yield text if length == member.max_prefixlen else f"{text}/{length}"


def entry_texts(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Keys and values as elements."""
    return (f"{key} : {value}" for key, value in entries)
