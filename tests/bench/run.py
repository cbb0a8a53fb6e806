"""`make bench`: what the project promises about speed, measured side by side in one run.

Exit code 0 when everything could be measured, whether or not the targets were met: the table says
that. 1 when a benchmark could not run. The lab is taken down in any case.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import (
    action,
    change,
    cold,
    firewall,
    firewall_agent,
    frr_removal,
    ibgp,
    idle,
    learned,
    memory,
    noop,
    restart,
    status,
    vip,
)
from benchmarks.figures import Row, table
from benchmarks.world import TOPOLOGY, World

from netns_lab.errors import LabError
from netns_lab.lab import Lab


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`name` is what `--only` takes."""

    name: str
    run: Callable[[World], list[Row]]


BENCHMARKS = (
    # Those that want a small lab first: peers are only ever added.
    Benchmark("action", action.run),
    Benchmark("restart", restart.run),
    Benchmark("idle-small", idle.small),
    Benchmark("status-small", status.run),
    Benchmark("firewall", firewall.run),
    Benchmark("firewall-agent", firewall_agent.run),
    # These have a lab or a namespace of their own.
    Benchmark("frr-removal", frr_removal.run),
    Benchmark("vip", vip.run),
    Benchmark("ibgp", ibgp.run),
    Benchmark("cold", cold.run),
    Benchmark("change", change.run),
    Benchmark("learned", learned.run),
    Benchmark("memory", memory.run),
    Benchmark("noop", noop.run),
    Benchmark("status-large", status.run),
    Benchmark("idle-large", idle.large),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=str(names))
    parser.add_argument("--lab", default=f"b{os.getpid() % 10**7}", help="name of the lab")
    options = parser.parse_args(arguments)
    # SIGTERM takes the lab down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [b for b in BENCHMARKS if not options.only or b.name in options.only]
    try:
        with Lab.up(options.lab, TOPOLOGY, progress=_progress) as lab:
            world = World(lab, _progress)
            world.start()
            rows, failed = _measure(world, chosen)
    except LabError as error:
        print(f"the lab did not come up: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(rows)}\n")
    load = os.getloadavg()
    print(
        f"{os.cpu_count()} cores, load of the last 1 and 15 minutes {load[0]:.1f} and {load[2]:.1f}"
    )
    count = {word: sum(row.verdict == word for row in rows) for word in ("met", "missed")}
    print(f"{count['met']} targets met, {count['missed']} missed")
    for name in failed:
        print(f"could not run: {name}")
    return 1 if failed else 0


def _measure(world: World, chosen: Sequence[Benchmark]) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    failed: list[str] = []
    for number, benchmark in enumerate(chosen, start=1):
        started = time.monotonic()
        print(f"{number}/{len(chosen)} {benchmark.name}", flush=True)
        try:
            found = benchmark.run(world)
        except (LabError, OSError) as error:
            failed.append(benchmark.name)
            print(f"    could not run: {error}", flush=True)
            continue
        rows += found
        for row in found:
            _progress(f"{row.name}: {row.ours:.3g} {row.unit} {row.verdict}")
        _progress(f"took {time.monotonic() - started:.0f} s")
    return rows, failed


def _progress(text: str) -> None:
    print(f"    {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
