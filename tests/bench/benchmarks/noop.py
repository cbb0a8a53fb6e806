"""A reconcile that finds nothing to do, with 1,000 peers: it writes nothing, and says so.

Evidence from three sides. The agent's metrics: passes were made, kernel writes stayed. The
kernel: `ip monitor` in the node saw no event of links, addresses, routes or rules. WireGuard: a
proxy before the device's socket forwarded reads and not one `set`. Then each witness is tested: a
foreign address must show in the monitor, a detached peer in the proxy, or silence would prove
nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.counting_proxy import CountingProxy
from benchmarks.evidence import AgentLog, metrics, total
from benchmarks.figures import Row
from benchmarks.world import SPOKES, World

from netns_lab import processes
from netns_lab.errors import LabError
from netns_lab.node import LabNode

PEERS = 1000
PASSES = 10
SETTLE = 2.0
FOREIGN = "192.0.2.77/32"
WRITES = "powernode_agent_kernel_writes_total"
COUNT = "powernode_agent_reconcile_duration_seconds_count"
SUM = "powernode_agent_reconcile_duration_seconds_sum"
ASKED = "operator"


def run(world: World) -> list[Row]:
    """Writes by each witness, and what a pass takes."""
    world.grow(PEERS)
    node = world.hub
    time.sleep(SETTLE)
    log = AgentLog(node)
    path = world.uapi_path(node, world.link)
    with CountingProxy(path) as proxy, _monitor(node) as monitor:
        before = metrics(node)
        for _ in range(PASSES):
            _reconcile(world)
        after = metrics(node)
        reads, sets, events = proxy.reads, proxy.sets, monitor.read_text().splitlines()
        changed = log.named("reconcile.changed")
        _prove(world, proxy, monitor)
    passes = total(after, COUNT, ASKED) - total(before, COUNT, ASKED)
    took = 1000 * (total(after, SUM, ASKED) - total(before, SUM, ASKED)) / passes
    written = total(after, WRITES) - total(before, WRITES)
    world.progress(f"{passes:.0f} passes, {reads} reads, {sets} sets, {len(events)} events")
    if changed:
        raise LabError("the agent logged changes", which="no-op passes", value=str(changed[0]))
    if reads < PASSES:
        raise LabError("the agent did not read through the proxy", value=str(reads))
    return [
        Row("kernel writes of a no-op, metrics", written, "",
            f"{passes:.0f} passes asked for by SIGHUP with {PEERS} peers", limit=0),
        Row("the same, sets on WireGuard's socket", sets, "",
            f"{reads} reads went through the proxy", limit=0),
        Row("the same, netlink events", len(events), "",
            "ip monitor link address route rule", limit=0),
        Row("a no-op pass", took, "ms", "mean of these passes, by the agent's metrics"),
    ]  # fmt: skip


def _reconcile(world: World) -> None:
    """SIGHUP, and wait for the pass it asks for."""
    node = world.hub
    record = node.agent()
    if record is None:
        raise LabError("the agent does not run", which=node.name)
    made = total(metrics(node), COUNT, ASKED)
    processes.send_signal(record, signal.SIGHUP)
    world.lab.wait_until(lambda: total(metrics(node), COUNT, ASKED) > made, what="a pass asked for")


@contextmanager
def _monitor(node: LabNode) -> Iterator[Path]:
    """`ip monitor` in the node; gives the file that its lines go to."""
    with TemporaryDirectory() as directory:
        lines = Path(directory) / "events"
        with lines.open("wb") as output:
            process = subprocess.Popen(
                node.argv(["ip", "monitor", "link", "address", "route", "rule"]), stdout=output
            )
        try:
            # Listening only when the first event has come through; then the file starts anew.
            _await_event(node, lines)
            os.truncate(lines, 0)
            yield lines
        finally:
            process.kill()
            process.wait()


def _await_event(node: LabNode, lines: Path) -> None:
    """A foreign address comes and goes until the monitor has shown it."""

    def shown() -> bool:
        for verb in ("add", "del"):
            node.run(["ip", "address", verb, FOREIGN, "dev", "lo"])
        time.sleep(0.1)
        return FOREIGN.partition("/")[0] in lines.read_text()

    processes.wait_until(shown, what="an event in ip monitor")


def _prove(world: World, proxy: CountingProxy, monitor: Path) -> None:
    """The witnesses see what they should: a foreign address, and the agent's own write."""
    _await_event(world.hub, monitor)
    before = proxy.sets
    world.detach(SPOKES[1])
    processes.wait_until(lambda: proxy.sets > before, what="the proxy to see the agent's write")
    world.attach(SPOKES[1])
    world.lab.wait_until(
        lambda: len(world.device_keys(world.hub, world.link)) == PEERS, what="the peer to be back"
    )
