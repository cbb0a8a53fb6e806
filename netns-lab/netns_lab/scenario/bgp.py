"""What FRR and the kernel themselves say on a node, for evidence that is not our own report."""

from __future__ import annotations

import json
from collections.abc import Mapping

from netns_lab.scenario.stage import Stage
from netns_lab.scenario.telling import Unmet


def vtysh(stage: Stage, name: str, command: str) -> str:
    """The answer of FRR's own shell on a node; empty while its daemons are away."""
    return stage.node(name).run(["vtysh", "-c", command], check=False).stdout


def neighbors(stage: Stage, name: str) -> dict[str, Mapping[str, object]]:
    """bgpd's sessions on a node, by the neighbour's address."""
    try:
        found = json.loads(vtysh(stage, name, "show bgp ipv6 unicast summary json") or "{}")
    except ValueError as error:
        raise Unmet(f"bgpd of {name} does not answer in JSON: {error}") from error
    peers: dict[str, Mapping[str, object]] = found.get("peers", {})
    return peers


def established(stage: Stage, name: str) -> set[str]:
    """Addresses of the neighbours with which bgpd has an established session."""
    return {a for a, peer in neighbors(stage, name).items() if peer["state"] == "Established"}


def next_hops(stage: Stage, name: str, prefix: str) -> list[str]:
    """Where the kernel sends a prefix that BGP brought."""
    family = "-6" if ":" in prefix else "-4"
    done = stage.node(name).run(["ip", family, "-j", "route", "show", prefix], check=False)
    routes = json.loads(done.stdout) if done.stdout.strip() else []
    return [
        str(hop.get("gateway") or hop.get("via", {}).get("host") or hop.get("dev"))
        for route in routes
        if route.get("protocol") == "bgp"
        for hop in route.get("nexthops", [route])
    ]


def named(stage: Stage, addresses: list[str]) -> list[str]:
    """Node names in the place of their overlay addresses."""
    names = {address: name for name, address in stage.addresses.items()}
    return [names.get(address, address) for address in addresses]
