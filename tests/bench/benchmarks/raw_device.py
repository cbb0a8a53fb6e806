"""A WireGuard device of the benchmark's own: the same wireguard-go, in the same node, without the
agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.states import private_key
from benchmarks.uapi import Uapi, hexadecimal
from benchmarks.world import World

LINK = "wg-raw"


def start(world: World) -> Uapi:
    """wireguard-go, its key and port, and the link up; a connection to it."""
    node = world.apart
    node.run(["wireguard-go", LINK])
    device = world.uapi(node, LINK)
    key = hexadecimal(private_key("raw"))
    # Port 0, any: the last device's port may not be free yet.
    device.set(f"set=1\nprivate_key={key}\nlisten_port=0\n\n".encode())
    node.run(["ip", "link", "set", "dev", LINK, "up"])
    return device


def stop(world: World) -> None:
    """wireguard-go ends when its socket goes, and takes its link along."""
    node = world.apart
    world.uapi_path(node, LINK).unlink(missing_ok=True)
    world.lab.wait_until(
        lambda: node.run(["ip", "link", "show", "dev", LINK], check=False).returncode != 0,
        what=f"{LINK} to go",
    )


@contextmanager
def raw_device(world: World) -> Iterator[Uapi]:
    """A fresh device for the length of a block."""
    try:
        with start(world) as device:
            yield device
    finally:
        stop(world)
