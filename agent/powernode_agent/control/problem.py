"""One finding about a node, whoever found it."""

from __future__ import annotations

from dataclasses import dataclass

from powernode_agent.model.values import NetworkId


@dataclass(frozen=True, slots=True)
class Problem:
    """`subject` is what it is about, `next` a command. `network_id` None: the whole node."""

    subject: str
    network_id: NetworkId | None
    text: str
    next: str
