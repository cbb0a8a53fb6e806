"""`purge`: the only verb that tears down. Removes what carries our marks, and nothing else.

Links go with their addresses, routes and peers. The last-known-good state goes too, or the next start
would build everything again without anyone asking; identity and keys stay, so that the node can come
back. A purged node is a node that has not heard from the platform yet.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import structlog

from powernode_agent.config import Settings
from powernode_agent.control.server import ControlServer
from powernode_agent.daemon.assembly import last_known_good
from powernode_agent.model.values import ALIAS_PREFIX, LINK_PREFIX
from powernode_agent.netlink.dispatcher import Netlink

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
        return await tear_down(settings, netlink)


async def tear_down(settings: Settings, netlink: Netlink) -> list[str]:
    """Remove our links and the last-known-good state; wireguard-go ends with its link."""
    removed: list[str] = []
    for index, link in list(netlink.links().items()):
        ours = link.name.startswith(LINK_PREFIX) and link.alias.startswith(ALIAS_PREFIX)
        if not ours or link.kind not in OUR_KINDS:
            continue
        await netlink.delete_link(index)
        removed.append(f"removed link {link.name} with its addresses, routes and peers")
    if last_known_good(settings).forget():
        removed.append("removed the last-known-good state")
    await netlink.settle()
    log.info("purge.done", removed=len(removed))
    return removed
