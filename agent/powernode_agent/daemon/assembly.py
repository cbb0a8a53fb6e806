"""Puts the rooms together: the only place that knows which class stands behind which port."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from powernode_agent.config import Settings
from powernode_agent.links.subsystem import Links
from powernode_agent.links.sysctl import ProcSysctls
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.store.identity import IdentityStore
from powernode_agent.store.keyring import Keyring
from powernode_agent.store.last_known_good import LastKnownGood
from powernode_agent.wireguard.choose import choose_backend
from powernode_agent.wireguard.subsystem import Wireguard


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms of one daemon."""

    netlink: Netlink
    wireguard: Wireguard
    links: Links
    keyring: Keyring
    identities: IdentityStore
    last_known_good: LastKnownGood


def identity_store(settings: Settings) -> IdentityStore:
    """Where the node's identity lives."""
    return IdentityStore(settings.directories.state)


def last_known_good(settings: Settings) -> LastKnownGood:
    """Where the last accepted state lives."""
    return LastKnownGood(settings.directories.state / "last-known-good")


async def assemble(settings: Settings, stack: AsyncExitStack) -> Parts:
    """The rooms, with the kernel read once. `stack` closes what was opened. Raises `AgentError`."""
    state: Path = settings.directories.state
    netlink = Netlink()
    await netlink.start()
    stack.push_async_callback(netlink.close)
    chosen = await choose_backend(
        settings.wireguard.backend.value,
        netlink,
        settings.wireguard.wireguard_go,
        settings.directories.wireguard_sockets,
    )

    def alias_of(link: str) -> str | None:
        found = netlink.link_by_name(link)
        return None if found is None else found.alias

    return Parts(
        netlink=netlink,
        wireguard=Wireguard(
            chosen.backend, now=time.time, alias_of=alias_of, predecessor=chosen.predecessor
        ),
        links=Links(netlink, ProcSysctls()),
        keyring=Keyring(state / "keys"),
        identities=identity_store(settings),
        last_known_good=last_known_good(settings),
    )
