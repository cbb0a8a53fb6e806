"""What rooms put into our one nftables table, as values: sets, maps and chains, in fragments.

`table inet powernode_sdwan` is shared by the rooms that filter and translate. Each compiles a
`Fragment` for each network; `nftables` composes them, finds the difference to what the kernel has,
and applies it in one transaction. So that an unchanged part is recognised without reading it, objects
are plain values that compare equal, and chains that nobody jumps to by a fixed name carry the digest
of their content in theirs: another content is another chain.

Texts are nft's own syntax and are made from validated values only: never from a string of the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from powernode_agent.model.values import NetworkId, Prefix


class Hook(Enum):
    """The base chains a fragment may add lines to, by name; each exists while somebody does. (`dnat`
    and `snat` are words of nft's own, and as names a syntax error.)

    Ingress and egress of forwarded packets are two chains of one hook: `accept` in the first ends that
    chain only, so a packet that crosses two links must be accepted by both.
    """

    CLAMP = "base_clamp"
    """MSS of what is forwarded."""
    INPUT = "base_input"
    OUTPUT = "base_output"
    FORWARD_INGRESS = "base_forward_ingress"
    FORWARD_EGRESS = "base_forward_egress"
    DNAT = "base_dnat"
    """Destinations of what comes in from anywhere."""
    DNAT_LOCAL = "base_dnat_local"
    """Destinations of what this host itself sends."""
    SNAT = "base_snat"


@dataclass(frozen=True, slots=True)
class Line:
    """One rule in nft's syntax. `origin` is what an error names: "firewall rule fr-12"; empty: none.
    Lines are equal by what they do: rules that come to the same thing share one chain."""

    text: str
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that is jumped to."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class PrefixSet:
    """A named set of prefixes of one family; with `interval`, disjoint ones of any length, without,
    host addresses only. It changes element by element."""

    name: str
    version: int
    interval: bool
    members: frozenset[Prefix]
    origin: str = field(default="", compare=False)


@dataclass(frozen=True)
class ElementMap:
    """A named map. `key` and `value` are nft types ("ipv6_addr", "verdict"); `entries` are elements in
    nft's syntax, disjoint. It changes element by element. `origins`: what an error about a key names.
    """

    name: str
    key: str
    value: str
    interval: bool
    entries: Mapping[str, str]
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Counter:
    """A named counter of packets and bytes; it counts on while what refers to it changes."""

    name: str


RulesetObject = Chain | PrefixSet | ElementMap | Counter


@dataclass(frozen=True)
class Fragment:
    """What one room wants in the table for one network. Names of objects are unique in the table.

    `guards`: whether the network must not carry packets without it, so that a refused fragment keeps
    new peers out.
    """

    network_id: NetworkId
    objects: Mapping[str, RulesetObject]
    hooks: Mapping[Hook, tuple[Line, ...]]
    guards: bool = False
    shut: Mapping[Hook, tuple[Line, ...]] = field(default_factory=dict)
    """What stands in its place when nftables refuses it and nothing stood before: lines that let
    nothing through, so simple that nobody refuses them."""
