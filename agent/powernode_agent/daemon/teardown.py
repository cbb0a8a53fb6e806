"""`purge`: the only verb that tears down. Removes what carries our marks, and nothing else.

Links go with their addresses, routes and peers. The last-known-good state goes too, or the next start
would build everything again without anyone asking; identity and keys stay, so that the node can come
back. A purged node is a node that has not heard from the platform yet.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Final

import structlog

from powernode_agent.config import Settings
from powernode_agent.control.server import ControlServer
from powernode_agent.daemon.assembly import (
    flannel_of,
    frr_service,
    last_known_good,
    seal_file,
    watch_of,
)
from powernode_agent.errors import AgentError
from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.service import FrrService
from powernode_agent.links.sysctl import ProcSysctls
from powernode_agent.model.values import ALIAS_PREFIX, LINK_PREFIX
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.nftables.errors import LibraryMissingError, NftablesError
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import FULL_NAME
from powernode_agent.nftables.worker import Worker
from powernode_agent.portmap.subsystem import PortMaps

log = structlog.get_logger()

OUR_KINDS: Final = frozenset({"wireguard", "tun"})


async def purge(settings: Settings) -> list[str]:
    """Tear down without a running daemon; one line for each thing removed. Raises `AgentError`."""
    async with AsyncExitStack() as stack:
        if settings.directories.run.is_dir():
            # Its lock keeps a daemon from starting, and building, while this tears down.
            alone = ControlServer(settings.directories.control_socket, {})
            await alone.start()
            stack.push_async_callback(alone.close)
        netlink = Netlink()
        await netlink.start()
        stack.push_async_callback(netlink.close)
        worker = Worker()
        stack.callback(worker.close)
        ruleset = Ruleset(worker, seal_file(settings), watch_of(worker), time.monotonic)
        portmaps = PortMaps(netlink, ProcSysctls(), settings.directories.run, ruleset.packets)
        return await tear_down(
            settings, netlink, ruleset, portmaps, frr_service(settings), flannel_of(settings)
        )


async def tear_down(
    settings: Settings,
    netlink: Netlink,
    ruleset: Ruleset,
    portmaps: PortMaps,
    frr: FrrService,
    flannel: Flannel,
) -> list[str]:
    """Remove our links, our nftables table and the last-known-good state; wireguard-go ends with its
    link. FRR goes first, so that neighbours are told; the table goes after the links: until then it
    guards them."""
    removed: list[str] = []
    failure: AgentError | None = None
    try:
        if await frr.give_back():
            removed.append("removed our configuration of FRR")
    except FrrError as error:
        failure = error
    for index, link in list(netlink.links().items()):
        ours = link.name.startswith(LINK_PREFIX) and link.alias.startswith(ALIAS_PREFIX)
        if not ours or link.kind not in OUR_KINDS:
            continue
        await netlink.delete_link(index)
        removed.append(f"removed link {link.name} with its addresses, routes and peers")
    try:
        if await ruleset.purge():
            removed.append(f"removed nftables table {FULL_NAME}")
    except LibraryMissingError:
        # Without the library there never was a table.
        log.info("purge.no_nftables")
    except NftablesError as error:
        # The rest does not hang on it and goes all the same; then it is said.
        failure = failure or error
    removed += await portmaps.purge()
    try:
        removed += await flannel.purge()
    except FlannelError as error:
        failure = failure or error
    if last_known_good(settings).forget():
        removed.append("removed the last-known-good state")
    await netlink.settle()
    if failure is not None:
        raise failure
    log.info("purge.done", removed=len(removed))
    return removed
