"""What may come from a neighbour, as FRR prefix lists. Pure.

FRR 8.4 checks its whole configuration for each line of a prefix list or route map, so that n of them
cost n squared: a thousand take ten seconds. Hence lists are as few and as short as they can be: equal
ones are one, and a prefix inside another one is left out. A long list is not named by its content: one
prefix more would mean entering all of it again. It is changed in place, where each prefix has a number
of its own that does not depend on its neighbours in the list.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Final

from powernode_agent.model.values import Prefix
from powernode_agent.routing.names import NOTHING, of_content

LONG: Final = 16
"""More entries than this are changed in place. Below, entering all of them is a tenth of a second."""

_BAND: Final = 2**24
"""Numbers for each prefix length: longer ones come first, so that the most specific entry decides."""


@dataclass(frozen=True, slots=True)
class Entry:
    """All prefixes inside a prefix, or with `shortest` those that have at least this length."""

    prefix: Prefix
    permit: bool = True
    shortest: int | None = None


def family_word(version: int) -> str:
    """FRR's word for an IP version in front of a command."""
    return "ipv6" if version == 6 else "ip"


def nothing_lists() -> tuple[str, ...]:
    """The lists that refuse everything."""
    return tuple(
        f"{family_word(version)} prefix-list {NOTHING} seq 5 deny any" for version in (6, 4)
    )


def prefix_list(
    version: int, entries: Sequence[Entry], name_if_long: str
) -> tuple[str, tuple[str, ...]]:
    """The name of a list, and its lines. Entries are of one IP version and no prefix is there twice."""
    if not entries:
        return NOTHING, ()
    numbered = _numbered(entries)
    bodies = [f"seq {seq} {_body(entry)}" for seq, entry in numbered]
    name = name_if_long if len(entries) > LONG else of_content("list", bodies)
    word = family_word(version)
    return name, tuple(f"{word} prefix-list {name} {body}" for body in bodies)


def without_covered(entries: Iterable[Entry]) -> list[Entry]:
    """The same decisions with fewer entries: one whose nearest cover decides alike says nothing, and
    neither does a refusal inside nothing that is permitted."""
    kept: list[Entry] = []
    decided: dict[tuple[int, int, int], bool] = {}
    lengths: list[int] = []
    for entry in sorted(entries, key=lambda entry: _place(entry.prefix)):
        prefix = entry.prefix
        version, own, bits = _place(prefix)
        width = prefix.max_prefixlen
        covers = (
            decided.get((version, length, bits >> (width - length) << (width - length)))
            for length in reversed(lengths)
            if length <= own
        )
        if next((found for found in covers if found is not None), False) is not entry.permit:
            kept.append(entry)
            decided[_place(prefix)] = entry.permit
            if own not in lengths:
                insort(lengths, own)
    return kept


def merged(prefixes: Iterable[Prefix]) -> list[Entry]:
    """Entries that permit these prefixes and what is inside them, and nothing else: neighbours of one
    length are one entry. No prefix is inside another."""
    by_length: dict[tuple[int, int], list[Prefix]] = {}
    for prefix in prefixes:
        by_length.setdefault((prefix.version, prefix.prefixlen), []).append(prefix)
    found: list[Entry] = []
    for (_, length), group in sorted(by_length.items()):
        ranges: list[Prefix] = [
            *collapse_addresses(p for p in group if isinstance(p, IPv4Network)),
            *collapse_addresses(p for p in group if isinstance(p, IPv6Network)),
        ]
        for range_ in ranges:
            whole = range_.prefixlen == length
            found.append(Entry(range_, shortest=None if whole else length))
    return found


def _place(prefix: Prefix) -> tuple[int, int, int]:
    return (prefix.version, prefix.prefixlen, int(prefix.network_address))


def _numbered(entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
    taken: dict[int, Entry] = {}
    for entry in sorted(entries, key=lambda entry: _place(entry.prefix)):
        prefix = entry.prefix
        band = (prefix.max_prefixlen - prefix.prefixlen) * _BAND
        at = int.from_bytes(sha256(str(prefix).encode()).digest()[:3])
        while band + at in taken or band + at == 0:
            at = (at + 1) % _BAND
        taken[band + at] = entry
    return sorted(taken.items(), key=lambda item: item[0])


def _body(entry: Entry) -> str:
    prefix, action = entry.prefix, "permit" if entry.permit else "deny"
    whole = prefix.max_prefixlen
    within = "" if entry.shortest is None else f" ge {entry.shortest}"
    if prefix.prefixlen < whole and entry.shortest != whole:
        within += f" le {whole}"
    return f"{action} {prefix}{within}"
