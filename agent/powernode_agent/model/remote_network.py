"""What a peer of kind federation stands for: another account's network, as far as a node is told."""

from __future__ import annotations

from dataclasses import dataclass

from powernode_agent.model.checks import check_id, check_routable, raise_if
from powernode_agent.model.values import Prefix
from powernode_agent.model.violation import Violation


@dataclass(frozen=True, slots=True)
class RemoteNetwork:
    """The other account and its network, by id. `advertised` is all that may be sent to from there."""

    account_id: str
    network_id: str
    advertised: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = f"remote network {self.network_id}"
        check_id(found, which, "remote_account_id", self.account_id)
        check_id(found, which, "remote_network_id", self.network_id)
        for prefix in self.advertised:
            check_routable(found, which, "advertised_prefixes", prefix)
        raise_if(found)
