"""Prefixes that do not overlap, as an interval set of the kernel wants them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from powernode_agent.model.values import Prefix


def disjoint(prefixes: Iterable[Prefix]) -> frozenset[Prefix]:
    """Those of one family that lie in no other. Neighbours are not joined, so that one that comes or
    goes changes one element."""
    kept: list[Prefix] = []
    end = -1
    for prefix in sorted(prefixes, key=lambda p: (int(p.network_address), p.prefixlen)):
        first = int(prefix.network_address)
        if first > end:
            kept.append(prefix)
            end = first + (1 << prefix.max_prefixlen - prefix.prefixlen) - 1
    return frozenset(kept)
