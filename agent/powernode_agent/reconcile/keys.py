"""Which private key each network uses: the platform's, or one of the node's own.

Keys of the node are made the first time their generation is asked for and kept by the store, so a node
that restarts with the platform away still has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from powernode_agent.errors import AgentError
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import NodeKey, PlatformKey
from powernode_agent.model.values import NetworkId, PrivateKey, PublicKey


class KeySource(Protocol):
    """Where the node's own keys are got."""

    def private_key(self, network_id: NetworkId, generation: int) -> PrivateKey: ...

    def generations(self, network_id: NetworkId) -> tuple[int, ...]: ...


class KeyStore(KeySource, Protocol):
    """Where the node's own keys live."""

    def forget_before(self, network_id: NetworkId, generation: int) -> None: ...


@dataclass(frozen=True, slots=True)
class DryKeys:
    """The keys of `store` for a dry run: in place of one that is not there yet, one that nobody keeps.

    A plan must leave no trace, and a key file would be one.
    """

    store: KeySource

    def private_key(self, network_id: NetworkId, generation: int) -> PrivateKey:
        if generation in self.store.generations(network_id):
            return self.store.private_key(network_id, generation)
        return make_private_key(os.urandom(32))

    def generations(self, network_id: NetworkId) -> tuple[int, ...]:
        return self.store.generations(network_id)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys in use, by network; the public halves of all that the node made; what failed."""

    in_use: Mapping[NetworkId, PrivateKey]
    made_here: Mapping[NetworkId, tuple[tuple[int, PublicKey], ...]]
    failures: Mapping[NetworkId, AgentError]


def resolve_keys(
    state: DesiredState,
    store: KeySource,
    public: Callable[[PrivateKey], PublicKey] = public_key_of,
) -> Keys:
    """The keys of every network of `state`; makes missing ones of the node's own."""
    in_use: dict[NetworkId, PrivateKey] = {}
    made_here: dict[NetworkId, tuple[tuple[int, PublicKey], ...]] = {}
    failures: dict[NetworkId, AgentError] = {}
    for network_id, network in state.networks.items():
        source = network.network.interface.key
        match source:
            case PlatformKey(private_key=key):
                in_use[network_id] = key
            case NodeKey(generation=generation, next_generation=following):
                try:
                    key = store.private_key(network_id, generation)
                    made = [(generation, public(key))]
                    if following is not None:
                        made.append((following, public(store.private_key(network_id, following))))
                except AgentError as error:
                    failures[network_id] = error
                    continue
                in_use[network_id] = key
                made_here[network_id] = tuple(made)
    return Keys(in_use, made_here, failures)
