"""Changes step by step end where the whole would have begun: the same table, whatever the way there.

Random histories of rules, tags, policies and networks go through `difference`, applied by the worker as
the agent does it, each step beside a table of another name that is made from nothing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.netns.firewall.firewall_networks import network, state
from tests.netns.firewall.firewall_world import World, nft
from tests.unit.firewall.firewall_strategies import (
    HOSTS,
    NETWORK,
    PREFIXES,
    TAG_IDS,
    Filtering,
    actions,
    filterings,
    rules,
)

from powernode_agent.firewall import render
from powernode_agent.firewall.compile import Filter, compile_filter
from powernode_agent.model.firewall import (
    FirewallAction,
    FirewallPolicy,
    FirewallRuleId,
    FirewallTag,
    FirewallTagId,
)
from powernode_agent.model.network import Network
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import NetworkId, Prefix
from powernode_agent.nftables.composition import Fragments, difference, whole
from powernode_agent.nftables.script import Key, Script
from powernode_agent.nftables.worker import Worker

TABLE, BESIDE = "powernode_sdwan", "made_from_nothing"


@dataclass
class History:
    """What stands, and what it was compiled from. `filters`: for the next compilation."""

    worker: Worker
    standing: Fragments = field(default_factory=dict)
    filters: dict[NetworkId, Filter] = field(default_factory=dict)
    by_message: int = 0
    by_script: int = 0

    async def become(self, *states: NetworkState) -> None:
        after: dict[NetworkId, Filter] = {}
        for each in states:
            others: list[Network] = [other.network for other in states if other is not each]
            id_ = each.network.id
            after[id_] = compile_filter(each, others, 1420, self.filters.get(id_))
            afresh = compile_filter(each, others, 1420)
            assert after[id_].fragment == afresh.fragment
            assert after[id_].shadows == afresh.shadows
        self.filters = after
        wanted = {Key("firewall", id_): made.fragment for id_, made in after.items()}
        await self.apply(wanted)

    async def apply(self, wanted: Fragments) -> None:
        steps = difference(self.standing, wanted)
        if isinstance(steps, Script):
            self.by_script += 1
            await self.worker.run(steps.text())
        elif steps:
            self.by_message += 1
            await self.worker.change_elements(steps)
        self.standing = wanted
        if wanted:
            assert listing(TABLE) == whole_listing(wanted)


def whole_listing(wanted: Fragments) -> list[str]:
    nft(whole(wanted).text().replace(TABLE, BESIDE))
    return listing(BESIDE)


def listing(table: str) -> list[str]:
    """What stands in a table, object by object: their order is that in which they were made."""
    inside = nft(f"list table inet {table}").splitlines()[1:-1]
    objects = re.split(r"\n(?=\t\w)", "\n".join(inside))
    return sorted(each.strip() for each in objects)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Filtering, bool]]:
    """States one after the other, most of them a small edit away, and whether there is a second
    network too."""
    now = draw(filterings(max_rules=14, min_rules=8))
    found = [(now, draw(st.booleans()))]
    for number in range(draw(st.integers(2, 6))):
        now = draw(edited(now, number))
        found.append((now, draw(st.booleans())))
    return found


@st.composite
def edited(draw: st.DrawFn, now: Filtering, number: int) -> Filtering:
    tags = dict(now.tags)
    match draw(st.sampled_from(["all", "rule", "gone", "policy", "tag", "tag", "host", "host"])):
        case "all":
            return draw(filterings(max_rules=14))
        case "rule":
            new = draw(rules(100 + number))
            return replace(now, rules=(*now.rules, new))
        case "gone":
            return replace(now, rules=now.rules[draw(st.integers(0, 3)) :])
        case "policy":
            return replace(now, policy=FirewallPolicy(draw(actions), draw(actions)))
        case "host":
            id_, pool = draw(st.sampled_from(TAG_IDS)), HOSTS
        case _:
            id_, pool = draw(st.sampled_from(TAG_IDS)), PREFIXES
    moved = draw(st.sets(st.sampled_from(pool), min_size=1, max_size=3))
    tags[id_] = replace(tags[id_], members=tags[id_].members ^ moved)
    return replace(now, tags=tags)


@pytest.mark.parametrize("few", [6, 1], ids=["as it is", "maps wherever there can be maps"])
def test_step_by_step_is_the_same_as_at_once(
    node: World, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(render, "_FEW", few)

    async def walk(walked: list[tuple[Filtering, bool]]) -> None:
        worker = Worker()
        try:
            await worker.run(f"add table inet {TABLE}\ndelete table inet {TABLE}\n")
            history = History(worker)
            for each, both in walked:
                core = state(network(each.policy), each.rules, each.tags)
                ops = [state(network(FirewallPolicy(FirewallAction.DROP), handle="ops"))]
                await history.become(core, *(ops if both else ()))
        finally:
            worker.close()

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(steps())
    def holds(walked: list[tuple[Filtering, bool]]) -> None:
        asyncio.run(walk(walked))

    holds()


TAG = FirewallTagId("tag-0")


def prefixes(*texts: str) -> frozenset[Prefix]:
    return frozenset(ip_network(text) for text in texts)


async def test_a_tag_that_gains_and_loses_hosts_costs_messages_and_no_script(node: World) -> None:
    from powernode_agent.model.firewall import (
        FirewallDirection,
        FirewallProtocol,
        FirewallRule,
        TagSelector,
    )

    rule = FirewallRule(
        id=FirewallRuleId("fr-1"),
        network_id=NETWORK,
        direction=FirewallDirection.BOTH,
        action=FirewallAction.ACCEPT,
        selector=TagSelector(TAG),
        protocol=FirewallProtocol.ANY,
        created_at_ms=1,
    )
    one = network()
    worker = Worker()
    try:
        history = History(worker)
        hosts = [f"fd00:1::{n:x}" for n in range(1, 2600)]
        for members, by_message in (
            (prefixes(hosts[0], "10.9.0.1"), 0),
            # More than one message holds.
            (prefixes(*hosts, "10.9.0.1"), 1),
            (prefixes(*hosts[7:], "10.9.0.2"), 2),
            (prefixes(hosts[2000], "10.9.0.2"), 3),
            # A wider prefix takes a set of its own.
            (prefixes(hosts[2000], "10.9.0.2", "fd00:20::/48"), 3),
            (prefixes(hosts[2000], "10.9.0.2", "fd00:20::/48", "fd00:20:0:1::/64"), 3),
            (prefixes(hosts[2000], "10.9.0.2", "fd00:20:0:1::/64", "fd00:20:0:2::/64"), 3),
            (prefixes(hosts[1], "10.9.0.2", "fd00:20:0:1::/64", "fd00:20:0:2::/64"), 4),
            (prefixes(), 4),
        ):
            tag = FirewallTag(TAG, NETWORK, "tenant A; drop", members)
            await history.become(state(one, [rule], {TAG: tag}))
            assert history.by_message == by_message, members
    finally:
        worker.close()
