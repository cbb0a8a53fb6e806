"""The command behind `make lab`: up, phases, down; exit code 1 if any step failed."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.scenario import (
    doors,
    full_mesh,
    phase1,
    phase2,
    phase3,
    phase4,
    phase5,
    phase6,
    phase7,
    phase8,
    phase9,
    pods,
    troubleshooting,
)
from netns_lab.scenario.stage import Stage
from netns_lab.scenario.telling import Teller
from netns_lab.topology import two_account_topology


def main() -> int:
    """Play the phases. 0: all held; 1: some did not, or the lab did not come up."""
    parser = argparse.ArgumentParser(description="the runbook's phases on a lab of namespaces")
    parser.add_argument("--lab", default="demo", help="name of the lab (default: demo)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up afterwards")
    options = parser.parse_args()
    console = Console(soft_wrap=True, emoji=False)
    # SIGTERM takes the lab down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    teller = Teller(console)
    started = time.monotonic()
    try:
        lab = Lab.up(options.lab, two_account_topology(), progress=teller.progress)
    except LabError as error:
        console.print(f"[bold red]the lab did not come up:[/bold red] {error}")
        return 1
    try:
        play(lab, teller)
    except LabError as error:
        teller.failed.append("bring the lab up")
        console.print(f"[bold red]FAIL[/bold red] {error}", highlight=False)
    finally:
        if teller.failed:
            teller.progress(f"what the agents and the platform said: {_keep_logs(lab)}")
        if options.keep:
            console.print(f"the lab stays up: netns-lab status --lab {options.lab}")
        else:
            lab.down()
            teller.progress("the lab is down, nothing is left behind")
    seconds = time.monotonic() - started
    console.print(f"\n{teller.passed} steps held, {len(teller.failed)} failed, {seconds:.0f} s")
    for title in teller.failed:
        console.print(f"  [red]failed:[/red] {title}", highlight=False)
    return 1 if teller.failed else 0


def _keep_logs(lab: Lab) -> Path:
    """Copy the logs to where they outlive the lab: the first thing one wants after a failure."""
    kept = Path(tempfile.mkdtemp(prefix="netns-lab-logs-"))
    shutil.copytree(lab.paths.root / "logs", kept, dirs_exist_ok=True)
    return kept


def play(lab: Lab, teller: Teller) -> None:
    """All phases on a lab whose namespaces are up."""
    teller.phase("The lab: an internet of namespaces, the platform, one agent a node")
    instances = lab.start(progress=teller.progress, without=phase9.ELSEWHERE)
    stage = Stage(lab, instances)
    teller.phase("Phase 1: create an overlay network")
    held = [teller.run(step) for step in phase1.steps(stage, teller)]
    if not all(held):
        return
    teller.phase("Phase 2: attach NodeInstance peers")
    for step in phase2.steps(stage, teller):
        teller.run(step)
    teller.phase("Pod networks (phase 1, pod_subnet_prefix): k3s on three spokes")
    for step in pods.steps(stage, teller):
        teller.run(step)
    teller.phase("Phase 4: port mappings")
    for step in phase4.steps(stage, teller):
        teller.run(step)
    teller.phase("Phase 5: firewall rules")
    for step in phase5.steps(stage, teller):
        teller.run(step)
    fabric = Stage(lab, instances)
    teller.phase("Phase 8: iBGP, on a second network of the same nodes")
    if all(teller.run(step) for step in phase8.steps(fabric, teller)[:2]):
        for step in phase8.steps(fabric, teller)[2:]:
            teller.run(step)
        teller.phase("Phase 3: virtual IPs, on both networks")
        for step in phase3.steps(stage, fabric, teller):
            teller.run(step)
        teller.phase("Phase 9: federation peers, with a second account")
        for step in phase9.steps(stage, fabric, Stage(lab, {}), teller):
            teller.run(step)
        teller.phase("Pod networks over iBGP")
        for step in pods.bgp_steps(fabric, teller):
            teller.run(step)
        for number, (where, network) in enumerate((("static", stage), ("iBGP", fabric)), start=1):
            teller.phase(f"Phase 7: user devices, on the {where} network")
            # Each step needs what the ones before it made.
            all(teller.run(step) for step in phase7.steps(network, teller, number))
        teller.phase("Phase 6: route policies; its network goes with the last step")
        for step in phase6.steps(fabric, teller):
            teller.run(step)
    teller.phase("Phases 1 and 2 again: a full mesh beside it, on nodes that it shares")
    for step in full_mesh.steps(Stage(lab, instances), teller):
        teller.run(step)
    teller.phase("Troubleshooting: each row of the table, made and recognised")
    # Each step needs the network of the first.
    all(teller.run(step) for step in troubleshooting.steps(Stage(lab, instances), teller))
    teller.phase("Three doors: MCP, netns-lab call, Python; confirmation and the audit log")
    # Each step needs what the ones before it made.
    all(teller.run(step) for step in doors.steps(Stage(lab, instances), teller))


if __name__ == "__main__":
    sys.exit(main())
