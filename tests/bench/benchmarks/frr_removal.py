"""500 networks leave FRR's configuration, by our writer, and once by frr-reload.

Real daemons in a network namespace of their own, which goes with the thread that made it. The time is
that of the whole writing: reading what runs, entering the difference, reading back. frr-reload is given
the file that our configuration makes, and the same daemons.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Row, spread
from benchmarks.world import World

from netns_lab import processes
from netns_lab.errors import LabError
from netns_lab.syscalls import CLONE_NEWNET, in_thread, unshare
from powernode_agent.errors import AgentError
from powernode_agent.frr.running import frr_conf
from powernode_agent.frr.supervised import Places, Supervised
from powernode_agent.frr.writer import Writer
from powernode_agent.model.frr_config import Context, FrrConfig

NETWORKS: Final = 500
ROUNDS: Final = 5
TARGET: Final = 1000.0
BGP: Final[Context] = ("router bgp 65000",)
IPV6: Final[Context] = (*BGP, "address-family ipv6 unicast")
RELOAD: Final = "/usr/lib/frr/frr-reload.py"


def run(world: World) -> list[Row]:
    """Ours, several times; frr-reload once: it takes its time."""

    def body() -> tuple[list[float], list[float], float]:
        unshare(CLONE_NEWNET)
        processes.run(["ip", "link", "set", "lo", "up"])
        directory = Path(tempfile.mkdtemp(prefix="bench-frr-"))
        directory.chmod(0o755)  # for the user frr
        try:
            return asyncio.run(_measured(world, directory))
        except AgentError as error:
            raise LabError(str(error), which="FRR") from error
        finally:
            shutil.rmtree(directory)

    removed, added, reference = in_thread(body)
    return [
        Row(
            f"{NETWORKS} networks out of FRR",
            median(removed),
            "ms",
            f"read, entered and read back; {spread(removed)}; reference: frr-reload of the same, once",
            reference=reference,
            limit=TARGET,
        ),
        Row(f"{NETWORKS} networks into FRR", median(added), "ms", f"the same; {spread(added)}"),
    ]


async def _measured(world: World, directory: Path) -> tuple[list[float], list[float], float]:
    places = Places(run=directory / "run", config=directory / "etc")
    daemons, writer = Supervised(places), Writer(places.run)
    removed: list[float] = []
    added: list[float] = []
    try:
        await daemons.ensure()
        await writer.write(_config(0))
        for turn in range(1, ROUNDS + 1):
            added.append(await _write(writer, NETWORKS))
            removed.append(await _write(writer, 0))
            world.progress(f"{turn}/{ROUNDS}: {removed[-1]:.0f} ms")
        await writer.write(_config(NETWORKS))
        reference = await asyncio.to_thread(_reload, places)
        if await _networks(writer):
            raise LabError("frr-reload left networks", which=RELOAD)
    finally:
        await daemons.end()
    return removed, added, reference


async def _write(writer: Writer, networks: int) -> float:
    started = time.perf_counter()
    await writer.write(_config(networks))
    took = (time.perf_counter() - started) * 1000
    if await _networks(writer) != networks:
        raise LabError("FRR does not have what was written", which=f"{networks} networks")
    return took


async def _networks(writer: Writer) -> int:
    lines = (await writer.running()).contexts.get(IPV6, ())
    return sum(line.startswith("network ") for line in lines)


def _reload(places: Places) -> float:
    """Milliseconds that frr-reload takes to remove all of them."""
    wanted = places.config / "wanted.conf"
    wanted.write_text(frr_conf(_config(0)))
    (places.config / "vtysh.conf").write_text("service integrated-vtysh-config\n")
    # Debian's own Python, for which the script is made.
    command = ["/usr/bin/python3", RELOAD, "--reload", "--bindir", "/usr/bin"]
    command += ["--confdir", str(places.config), "--rundir", str(places.run)]
    command += ["--vty_socket", str(places.run), str(wanted)]
    started = time.perf_counter()
    processes.run(command, timeout=180)
    return (time.perf_counter() - started) * 1000


def _config(networks: int) -> FrrConfig:
    """A speaker with a neighbour, and networks that it announces."""
    announced = tuple(f"network fd00:{number:x}::/64" for number in range(1, networks + 1))
    return FrrConfig(
        {
            BGP: (
                "bgp router-id 10.255.0.1",
                "no bgp default ipv4-unicast",
                "neighbor fd00::2 remote-as 65000",
            ),
            IPV6: (*announced, "neighbor fd00::2 activate"),
        }
    )
