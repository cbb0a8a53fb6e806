"""A lab of its own for what routing needs: two hubs, three spokes, and networks over all of them.

The benchmarks' other lab has one hub, and its networks grow; here sessions, BFD and both hubs are as
at the start before each round. What is waited for is what FRR and the kernel say, not our own report.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.world import World

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.probe_stats import ProbeResult
from netns_lab.scenario.bgp import established, named, next_hops, vtysh
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Unmet
from netns_lab.scenario.traffic import interruption, settle
from netns_lab.topology import plain_topology

HUBS: Final = ("hub-1", "hub-2")
SPOKES: Final = ("spoke-1", "spoke-2", "spoke-3")
NODES: Final = (*HUBS, *SPOKES)
SESSIONS: Final = {**dict.fromkeys(HUBS, 4), **dict.fromkeys(SPOKES, 2)}
"""Spokes have one with each hub, hubs with each other too."""
QUIET: Final = 50
"""Packets answered in a row before something is done to a network."""


@contextmanager
def routed_lab(world: World) -> Iterator[Stage]:
    """Up, with agents, an iBGP network over all nodes, and every session of it established."""
    topology = plain_topology(hubs=len(HUBS), spokes=len(SPOKES))
    with Lab.up(f"{world.lab.name}r", topology, progress=world.progress) as lab:
        stage = Stage(lab, lab.start(progress=world.progress))
        stage.call("system_sdwan_update_account_as_number", as_number=65000)
        make_network(stage, "ibgp")
        await_steady(stage)
        yield stage


def make_network(stage: Stage, mode: str) -> None:
    """A network over all nodes of the lab; `stage` is about it from now on."""
    answer = stage.call("system_sdwan_create_network", name=f"bench-{mode}", routing_mode=mode)
    stage.network_id = text(answer, "network", "id")
    stage.handle = text(answer, "network", "handle")
    for name in NODES:
        attached = stage.call(
            "system_sdwan_attach_peer",
            network_id=stage.network_id,
            node_instance_id=stage.instances[name],
            publicly_reachable=name in HUBS,
        )
        stage.peers[name] = text(attached, "peer", "id")
        stage.addresses[name] = text(attached, "peer", "host_address")


def await_steady(stage: Stage) -> None:
    """Every session is established, and BFD is up over it: until then only the hold timer would
    notice a dead neighbour."""

    def steady() -> bool:
        return all(
            len(established(stage, name)) == count
            and vtysh(stage, name, "show bfd peers brief").count(" up ") >= count
            for name, count in SESSIONS.items()
        )

    stage.lab.wait_until(steady, what="every BGP and BFD session to be up", timeout=90)


def await_quiet(stage: Stage, source: str, address: str) -> None:
    """Until packets to `address` are answered without a loss."""

    def quiet() -> bool:
        node = stage.node(source)
        with node.probe(address, source=stage.addresses[source], grace=0.3) as running:
            settle(running, QUIET)
        return running.result().lost == 0

    stage.lab.wait_until(quiet, what=f"{address} to answer {source} without loss", timeout=60)


def next_node(stage: Stage, name: str, address: str) -> str:
    """The node to which the kernel of `name` sends packets for an overlay address that BGP brought."""
    hops = named(stage, next_hops(stage, name, f"{address}/128"))
    if len(hops) != 1 or hops[0] not in NODES:
        raise LabError(f"not one way from {name}", which=address, value=", ".join(hops) or "none")
    return hops[0]


def gap(result: ProbeResult) -> float:
    """Milliseconds of the longest interruption; raises `LabError` when it cannot be told."""
    try:
        return interruption(result)
    except Unmet as error:
        raise LabError(str(error), which=result.target) from error
