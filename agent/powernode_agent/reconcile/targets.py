"""What the rooms should bring about, compiled from all it depends on, and only when that changed.

Compiling 5,000 peers takes milliseconds, and an idle pass must take none: as long as the inputs are
the same, the targets are the very same objects. That also tells drift from intent: a change planned
against targets that are not new repairs something that somebody else did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from powernode_agent.links.target import LinkTarget, compile_links
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.reconcile.keys import Keys
from powernode_agent.wireguard.target import DeviceTarget, compile_devices


@dataclass(frozen=True)
class Inputs:
    """All that targets depend on. `mtus` in bytes, from the underlay."""

    state: DesiredState
    carrying: Mapping[NetworkId, Carrying]
    keys: Keys
    switched: frozenset[PeerId]
    mtus: Mapping[NetworkId, int]

    def same(self, other: Inputs | None) -> bool:
        """Whether `other` gives the same targets, judged by identity where that is enough."""
        return (
            other is not None
            and self.state is other.state
            and self.carrying is other.carrying
            and self.keys is other.keys
            and self.switched == other.switched
            and self.mtus == other.mtus
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of all rooms."""

    devices: Mapping[NetworkId, DeviceTarget]
    links: Mapping[NetworkId, LinkTarget]


def compile_targets(inputs: Inputs) -> Targets:
    """Pure: the targets of these inputs."""
    return Targets(
        compile_devices(inputs.state, inputs.carrying, inputs.keys.in_use, inputs.switched),
        compile_links(inputs.state, inputs.carrying, inputs.mtus),
    )
