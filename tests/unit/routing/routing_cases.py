"""The cases of the golden files: small, and together they have every line that can be compiled."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from routing_states import AS_NUMBER, Overlay, Site, desired_state, network_state

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.model.route_policy import (
    Community,
    PolicyAction,
    PolicyDirection,
    PolicyStatement,
    RouteMatch,
    RoutePolicy,
    RoutePolicyId,
    RouteSet,
)
from powernode_agent.model.values import NetworkId, PeerId

CORE, OPS = Overlay("core", 1), Overlay("ops", 2, ipv4=False)
HUB_1, HUB_2 = Site(1, hub=True), Site(2, hub=True)
TOKYO = Site(11, lans=("fd00:a:1::/64", "192.168.11.0/24"), holds=(0x100,))
PARIS = Site(12, lans=("fd00:a:2::/64",), holds=(0x100,))
CORE_SITES: Final = (HUB_1, HUB_2, TOKYO, PARIS)
OPS_SITES: Final = (
    HUB_1,
    Site(11, lans=("10.0.0.0/8", "fd00:a::/32", "192.168.11.0/24")),
    Site(13),
)
WIDE = Site(14, lans=tuple(f"10.{n}.0.0/16" for n in range(1, 60, 2)))


def policy(
    name: str,
    direction: PolicyDirection,
    *statements: PolicyStatement,
    network: Overlay | None = None,
    priority: int = 0,
) -> RoutePolicy:
    return RoutePolicy(
        id=RoutePolicyId(f"policy-{name}"),
        network_id=None if network is None else NetworkId(network.id),
        name=name,
        direction=direction,
        statements=statements,
        priority=priority,
    )


UNCHANGED: Final = RouteSet()


def permit(seq: int, match: RouteMatch, set: RouteSet = UNCHANGED) -> PolicyStatement:
    return PolicyStatement(seq, match, set, PolicyAction.PERMIT)


def deny(seq: int, match: RouteMatch) -> PolicyStatement:
    return PolicyStatement(seq, match, RouteSet(), PolicyAction.DENY)


PREFER_TOKYO: Final = policy(
    "prefer-tokyo",
    PolicyDirection.IMPORT,
    permit(
        10,
        RouteMatch(prefix=ip_network("fd00:a::/32"), le=64, peer_id=TOKYO.peer_id(CORE)),
        RouteSet(local_pref=200),
    ),
    permit(20, RouteMatch(prefix=ip_network("fd00:a::/32"), le=64), RouteSet(local_pref=100)),
    network=CORE,
)
EVERYTHING: Final = policy(
    "everything",
    PolicyDirection.EXPORT,
    deny(1, RouteMatch(prefix=ip_network("10.0.0.0/8"), ge=25)),
    deny(2, RouteMatch(prefix=ip_network("fd00:dead::/32"), ge=48, le=64)),
    deny(3, RouteMatch(prefix=ip_network("fd00:beef::/32"), ge=64, le=64)),
    deny(4, RouteMatch(prefix=ip_network("::/0"), le=16)),
    deny(5, RouteMatch(community=Community((65000, 666)))),
    deny(6, RouteMatch(community=Community((65000, 1, 666)), as_path="^65001_.*[0-9]$")),
    permit(
        7,
        RouteMatch(as_path="_65002_"),
        RouteSet(
            local_pref=4294967295,
            med=0,
            communities=(Community((65000, 9)), Community((65000, 7)), Community((65000, 1, 2))),
            as_path_prepend=(AS_NUMBER, AS_NUMBER, AS_NUMBER),
        ),
    ),
    permit(
        65535,
        RouteMatch(prefix=ip_network("fd00:a:1::/64")),
        RouteSet(
            med=50,
            communities=(Community((65000, 1)), Community((65000, 1, 3)), Community((65000, 0, 0))),
            communities_additive=True,
        ),
    ),
)
TO_PARIS: Final = policy(
    "to-paris",
    PolicyDirection.EXPORT,
    deny(10, RouteMatch(peer_id=PARIS.peer_id(CORE), prefix=ip_network("192.168.11.0/24"))),
    deny(20, RouteMatch(peer_id=PeerId("nobody"))),
    network=CORE,
    priority=-1,
)

CASES: Final[dict[str, DesiredState]] = {
    "spoke": desired_state(network_state(CORE, TOKYO, CORE_SITES, bfd_interval_ms=100)),
    "hub": desired_state(network_state(CORE, HUB_1, CORE_SITES, bfd_interval_ms=300)),
    "hub-with-policies": desired_state(
        network_state(CORE, HUB_2, CORE_SITES, policies=(PREFER_TOKYO, TO_PARIS)),
        account_policies=(EVERYTHING,),
    ),
    "two-networks": desired_state(
        network_state(CORE, TOKYO, CORE_SITES, bfd_interval_ms=50, policies=(PREFER_TOKYO,)),
        network_state(OPS, OPS_SITES[1], (*OPS_SITES, WIDE)),
    ),
    "hub-of-two-networks": desired_state(
        network_state(CORE, HUB_1, CORE_SITES),
        network_state(OPS, HUB_1, (*OPS_SITES, WIDE), bfd_interval_ms=1000),
    ),
}


def render(config: FrrConfig) -> str:
    """A configuration as a file that FRR reads."""
    out: list[str] = []
    for context, lines in config.contexts.items():
        out += [" " * depth + line for depth, line in enumerate(context)]
        out += [" " * len(context) + line for line in lines]
        for depth in reversed(range(len(context))):
            family = context[depth].startswith("address-family")
            out.append(" " * depth + ("exit-address-family" if family else "exit"))
        out.append("!")
    return "\n".join(out) + "\n"
