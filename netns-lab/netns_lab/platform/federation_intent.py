"""What a network has to know of the networks of other accounts it is federated with, as frozen values.

The compiler works on these. They hold what one account may know of the other: its hubs, and the
prefixes that it advertises to us, as far as they are there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoteHub:
    """A hub of the other network. `next_public_key` empty: no rotation; `endpoint` empty: it calls."""

    id: str
    name: str
    host_address: str
    host_ipv4: str
    public_key: str
    next_public_key: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class FederationIntent:
    """An active federation, as one of its two networks sees it.

    `hubs` are in the other network's own order, the one in use first. `prefixes` are what we reach
    there, `advertised` what is reached here.
    """

    id: str
    remote_account_id: str
    remote_network_id: str
    remote_network_name: str
    hubs: tuple[RemoteHub, ...]
    prefixes: tuple[str, ...]
    advertised: tuple[str, ...]
