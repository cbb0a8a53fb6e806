"""Impairing a node's line, on whatever kernel this is: it works, or says by name that it cannot."""

from __future__ import annotations

from collections.abc import Callable

from netns_lab import impair
from netns_lab.impair import Impairment, NoNetemError
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology


def test_it_works_or_says_why(lab: Callable[[Topology], Lab]) -> None:
    node = lab(plain_topology(hubs=1, spokes=0, platform=False)).node("hub-1")
    impair.clear(node)  # none is no error, with or without netem
    router = str(node.topology.uplink(node.name).upper_ipv4.ip)
    before = node.run(["tc", "qdisc", "show"]).stdout
    said = _impair(node)
    if said:
        assert "no netem (node hub-1)" in said
        assert "netns_lab.vm run" in said
    else:
        assert not node.answers(router)
        impair.clear(node)
        assert node.answers(router)
    assert node.run(["tc", "qdisc", "show"]).stdout == before


def _impair(node: LabNode) -> str:
    """Lose everything; what is said where that cannot be done."""
    try:
        impair.impair(node, Impairment(loss=100))
    except NoNetemError as error:
        return str(error)
    return ""
