"""Runs one scenario, inside the namespaces of the first node: BACKEND SCENARIO OTHER-NAMESPACE.

An assertion that fails ends it with a traceback.
"""

from __future__ import annotations

import asyncio
import sys

from tests.netns.wireguard.wireguard_contract import CONTRACT
from tests.netns.wireguard.wireguard_own import KERNEL_ONLY, USERSPACE_ONLY, create_only
from tests.netns.wireguard.wireguard_world import Scene, run

from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.wireguard.kernel import Kernel
from powernode_agent.wireguard.userspace import Userspace

SCENARIOS = {
    "userspace": {**CONTRACT, **USERSPACE_ONLY},
    "kernel": {**CONTRACT, **KERNEL_ONLY},
}


async def main(kind: str, name: str, namespace: str) -> None:
    netlink = Netlink()
    await netlink.start()
    scene = Scene(namespace, Userspace() if kind == "userspace" else Kernel(netlink), netlink)
    try:
        if name == "create_only":
            await create_only(scene)
            return
        run("mkdir", "-p", "/run/wireguard")
        run("mount", "-t", "tmpfs", "tmpfs", "/run/wireguard")
        scene.start()
        await SCENARIOS[kind][name](scene)
    finally:
        await netlink.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
