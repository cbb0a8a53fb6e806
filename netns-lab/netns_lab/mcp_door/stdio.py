"""The MCP server on standard input and output, as `netns-lab mcp` runs it: for one account of the
platform behind a control socket. It ends when its client closes its input.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server

from netns_lab.mcp_door.confirmations import Confirmations
from netns_lab.mcp_door.server import Answer, Door
from netns_lab.mcp_door.tools import read_catalogue
from netns_lab.platform_client import PlatformClient

DOOR = "mcp"


def serve(platform: PlatformClient, account: str, *, with_lab: bool) -> None:
    """Serves until the client goes. Raises `LabError` if the platform is not there, or has no such
    account; what happens to it later, callers are told."""
    client = platform.acting_for(account, door=DOOR)
    catalogue = read_catalogue(client.call("system_sdwan_list_actions"), with_lab=with_lab)

    async def call(action: str, arguments: Mapping[str, object], actor: str) -> Answer:
        mine = client.acting_for(account, actor=actor)
        return await anyio.to_thread.run_sync(lambda: mine.call(action, arguments))

    door = Door(account, catalogue, call, Confirmations(account, time.monotonic))
    anyio.run(_run, door)


async def _run(door: Door) -> None:
    server = door.server(version("netns-lab"))
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
