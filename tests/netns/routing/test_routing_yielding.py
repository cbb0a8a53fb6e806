"""A holder that yields, with real FRR: it still has the address and announces it, and prefers whoever
else has it, so that while both hold all nodes go to the new one by the same hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from routing_states import Overlay, Site, desired_state, network_state
from routing_world import FrrNode, frr_world, until

from powernode_agent.model.virtual_ip import DEFAULT_LOCAL_PREFERENCE, YIELDING, address_metric
from powernode_agent.routing.compile import compile_frr

CORE = Overlay("core", 1, ipv4=False)
LINK: Final = "wg-sdwan-core"
VIP: Final = "fd00:1::200"
HOLDS: Final = (0x200,)
SITES: Final = {
    "h1": Site(1, hub=True, holds=HOLDS),
    "h2": Site(2, hub=True, holds=HOLDS),
    "a": Site(11, holds=HOLDS),
    "b": Site(12, holds=HOLDS),
    "c": Site(13),
}
ADDRESS: Final = {name: str(site.address(CORE)) for name, site in SITES.items()}


@pytest.fixture
def nodes() -> Iterator[dict[str, FrrNode]]:
    with frr_world(*SITES) as made:
        for name, site in SITES.items():
            state = network_state(CORE, site, tuple(SITES.values()))
            made[name].attach(CORE, site, state.network)
            made[name].start()
            made[name].configure(compile_frr(desired_state(state)))
        for name, site in SITES.items():
            expected = 4 if site.hub else 2
            until(
                f"{name} has its sessions",
                lambda n=name, e=expected: len(made[n].established()) == e,  # type: ignore[misc]
            )
        yield made


def hold(node: FrrNode, preference: int = DEFAULT_LOCAL_PREFERENCE) -> None:
    """The address as `virtual_ip` has it stand."""
    extra = ("nodad", "preferred_lft", "0", "metric", str(address_metric(preference)))
    node.ip("addr", "add", f"{VIP}/128", "dev", LINK, *extra)


def release(node: FrrNode) -> None:
    node.ip("addr", "del", f"{VIP}/128", "dev", LINK)


def yields(node: FrrNode) -> None:
    """As `virtual_ip` makes it: zebra sees an address with another metric only when it comes anew."""
    release(node)
    hold(node, YIELDING)


def own(node: FrrNode) -> bool:
    """Whether the node's best way to the virtual IP is its own announcement."""
    best = node.best(VIP)
    return best is not None and bool(best.get("sourced"))


def follows(nodes: dict[str, FrrNode], to: str, **hops: str) -> None:
    """Waits until each node's BGP has this next hop for the virtual IP, and `to` its own."""

    def hop_of(name: str) -> str | None:
        best = nodes[name].best(VIP)
        return None if best is None else str(best["nexthops"][0]["ip"])

    for name, hop in hops.items():
        until(
            f"{name} goes to {to} by {hop}",
            lambda n=name, h=hop: hop_of(n) == ADDRESS[h] and not own(nodes[n]),  # type: ignore[misc]
        )
    assert own(nodes[to])


def test_a_yielding_hub_leads_everybody_to_the_new_holder_while_it_still_holds(
    nodes: dict[str, FrrNode],
) -> None:
    hub, c = nodes["h1"], nodes["c"]
    hold(hub)
    until("c goes to hub 1", lambda: c.route(VIP) == [ADDRESS["h1"]])
    hold(nodes["a"])
    until("hub 2 hears of the new one", lambda: nodes["h2"].route(VIP) == [ADDRESS["a"]])
    # Of equal preference: the hub still answers everybody who goes by it.
    assert own(hub)
    assert c.route(VIP) == [ADDRESS["h1"]]
    yields(hub)
    follows(nodes, "a", h1="a", h2="a", c="h1", b="h1")
    best = hub.best(VIP)
    assert best is not None
    assert best["peer"]["peerId"] == ADDRESS["a"]
    # It still announces its own to nobody but itself, and the kernel still delivers here.
    paths = hub.json(f"show bgp ipv6 unicast {VIP}/128 json")["paths"]
    (mine,) = [path for path in paths if path.get("sourced")]
    assert (mine["locPrf"], mine.get("weight", 0), mine["metric"]) == (1, 0, 15_999_984)
    assert hub.route(VIP) == []
    assert f"local {VIP}" in hub.ip("-6", "route", "show", "table", "local")
    release(hub)
    until("its kernel goes there, too", lambda: hub.route(VIP) == [ADDRESS["a"]])
    follows(nodes, "a", h1="a", h2="a", c="h1", b="h1")


def test_a_hub_that_takes_over_from_one_that_yields_or_stays_alone_announces_itself(
    nodes: dict[str, FrrNode],
) -> None:
    hub, a, c = nodes["h1"], nodes["a"], nodes["c"]
    hold(a)
    until("c goes to a by hub 1", lambda: c.route(VIP) == [ADDRESS["h1"]] and not own(hub))
    hold(hub)
    until("the hub prefers itself", lambda: own(hub))
    yields(a)
    follows(nodes, "h1", h2="h1", c="h1", a="h1")
    # Alone it is as good as any.
    release(hub)
    follows(nodes, "a", h1="a", h2="a", c="h1")
    yields(nodes["a"])
    follows(nodes, "a", h1="a", h2="a", c="h1")


def test_from_hub_to_hub_the_spokes_go_straight_to_the_new_one(nodes: dict[str, FrrNode]) -> None:
    hold(nodes["h1"])
    until("c goes to hub 1", lambda: nodes["c"].route(VIP) == [ADDRESS["h1"]])
    hold(nodes["h2"])
    until("hub 2 holds", lambda: own(nodes["h2"]))
    yields(nodes["h1"])
    follows(nodes, "h2", h1="h2", c="h2", a="h2")
