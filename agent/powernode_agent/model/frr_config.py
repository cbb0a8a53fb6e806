"""FRR's configuration as what it is: lines, each in a context, in the very words FRR prints itself.

One form serves compiling, applying and verifying: what `show running-config` prints, taken apart, is
compared with what was compiled, without a translation in between that could hide a difference. Hence
the rule for whoever compiles: no line that FRR would print in other words, or suppress as a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Context = tuple[str, ...]
"""The lines that lead to a place: () is the top; ("router bgp 65000",), ("router bgp 65000",
"address-family ipv6 unicast"), ("route-map PN-x permit 10",), ("bfd", "profile pn-100")."""


@dataclass(frozen=True)
class FrrConfig:
    """Lines of each context, in the order in which they are to be entered. A context without lines
    exists all the same (a route-map entry that permits everything). Contexts in order of entry."""

    contexts: Mapping[Context, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "contexts", MappingProxyType(dict(self.contexts)))
