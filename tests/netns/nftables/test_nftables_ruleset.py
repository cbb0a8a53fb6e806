"""The table against a real kernel: what is written, what is left alone, what is put right."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.ruleset import (
    Chain,
    Counter,
    ElementMap,
    Fragment,
    Hook,
    Line,
    PrefixSet,
    RulesetObject,
)
from powernode_agent.model.values import NetworkId, Prefix
from powernode_agent.nftables.errors import NftablesError, RefusedError
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import Key
from powernode_agent.nftables.seal import SealFile
from powernode_agent.nftables.socket import generation, inventory
from powernode_agent.nftables.watch import Watch
from powernode_agent.nftables.worker import Worker

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

TABLE = "powernode_sdwan"
CORE, OPS = NetworkId("core"), NetworkId("ops")
FOREIGN = """table inet operator {
  chain mine { type filter hook input priority 0; tcp dport 22 accept; }
}"""


def nft(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


def last_generation() -> int:
    return generation().number


def ours() -> str:
    """The table; where an object stands in the list means nothing."""
    listed = nft("-s", "list", "table", "inet", TABLE)
    objects = listed.strip().removesuffix("}").partition("\n")[2].split("\n\n")
    return "\n\n".join(sorted(each.strip("\n") for each in objects))


def host(number: int) -> Prefix:
    return IPv6Network(((0xFD00 << 112) + number, 128))


def fragment(
    name: str, ports: Mapping[str, str], members: int = 3, guards: bool = False
) -> Fragment:
    objects: list[RulesetObject] = [
        Counter(f"n_{name}_dropped"),
        Chain(f"n_{name}_drop", (Line(f'counter name "n_{name}_dropped"'), Line("drop"))),
        PrefixSet(f"n_{name}_tag", 6, False, frozenset(host(i + 1) for i in range(members))),
        ElementMap(f"n_{name}_tcp", "inet_service", "verdict", False, ports),
        Chain(
            f"n_{name}_in",
            (
                Line(f"ip6 saddr @n_{name}_tag accept"),
                Line(f"tcp dport vmap @n_{name}_tcp", "firewall rule fr-1"),
                Line(f"goto n_{name}_drop"),
            ),
        ),
    ]
    hooks = {Hook.INPUT: (Line(f'iifname "wg-sdwan-{name}" goto n_{name}_in'),)}
    return Fragment(NetworkId(name), {each.name: each for each in objects}, hooks, guards)


@dataclass
class World:
    """A ruleset as the daemon has it, and how often it was disturbed."""

    seals: Path
    worker: Worker = field(default_factory=Worker)
    listens: bool = True
    """Whether it can be told what others do."""
    disturbances: int = 0

    def __post_init__(self) -> None:
        self.watch = Watch(TABLE, last_generation, self._writer, time.monotonic)
        self.ruleset = Ruleset(self.worker, SealFile(self.seals), self.watch, time.monotonic)
        self.watch.on_disturbed(self._count)
        if self.listens:
            self.watch.start()

    def _writer(self) -> int:
        if not self.listens:
            raise NftablesError("cannot listen")
        return self.worker.writer()

    def _count(self) -> None:
        self.disturbances += 1

    def plan(self, *fragments: Fragment) -> list[Change]:
        wanted = {Key("firewall", each.network_id): each for each in fragments}
        return self.ruleset.plan(wanted, {"firewall": Phase.FILTER})

    async def bring(self, *fragments: Fragment) -> list[Change]:
        await self.ruleset.observe()
        changes = self.plan(*fragments)
        for change in changes:
            await change.apply()
        return changes

    def close(self) -> None:
        self.watch.close()
        self.worker.close()


async def until(check: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(0.005)
    assert check(), what


@pytest_asyncio.fixture
async def world(private_namespace: PrivateNamespace, tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "seal.json")
    yield made
    made.close()


async def test_what_is_wanted_stands_and_then_costs_nothing(world: World) -> None:
    nft(FOREIGN)
    foreign = nft("list", "table", "inet", "operator")
    core = fragment("core", {"22": "accept", "80": "goto n_core_drop"})
    (added,) = await world.bring(core)
    assert (added.network, added.verb, added.phase) == (CORE, Verb.ADD, Phase.FILTER)
    text = ours()
    assert "tcp dport vmap @n_core_tcp" in text
    assert 'iifname "wg-sdwan-core" goto n_core_in' in text
    assert world.plan(core) == []
    # An equal one, made anew, is no change either.
    assert world.plan(fragment("core", {"80": "goto n_core_drop", "22": "accept"})) == []
    await world.bring()
    assert TABLE not in nft("list", "tables"), "nothing is left when nothing is wanted"
    assert nft("list", "table", "inet", "operator") == foreign


async def test_a_guard_is_planned_as_one(world: World) -> None:
    (change,) = world.plan(fragment("core", {}, guards=True))
    assert change.phase is Phase.GUARD


async def test_only_the_difference_is_written(world: World) -> None:
    core = fragment("core", {"22": "accept", "80": "accept"})
    ops = fragment("ops", {"53": "accept"})
    await world.bring(core, ops)
    events = subprocess.Popen(  # noqa: ASYNC220
        ["nft", "monitor"], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert events.stdout is not None
        await until(lambda: _reads(events.pid), "nft monitor to listen")
        more = fragment("core", {"22": "accept", "81": "accept"}, members=4)
        (change,) = await world.bring(more, ops)
        assert change.network == CORE
        nft("add table inet end")
        said: list[str] = []
        while not said or "end" not in said[-1]:
            said.append(events.stdout.readline())
    finally:
        events.kill()
        events.wait()
    told = [line for line in said if TABLE in line]
    assert sorted(line.split(" {")[0].split("powernode_sdwan ")[1].strip() for line in told) == [
        "n_core_tag",
        "n_core_tcp",
        "n_core_tcp",
    ], said
    assert "fd00::4" in ours()


def _reads(pid: int) -> bool:
    """Whether a process has joined a netlink group of netfilter's (protocol 12)."""
    lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    return any(
        fields[1] == "12" and fields[2] == str(pid) and int(fields[3], 16)
        for fields in map(str.split, lines)
    )


async def test_one_more_address_is_one_message(world: World) -> None:
    """Not a script: the library would read every set and chain of the table first."""
    await world.bring(fragment("core", {}, members=2000))
    ran: list[str] = []
    world.worker.run = ran.append  # type: ignore[method-assign, assignment]
    await world.bring(fragment("core", {}, members=2001))
    await world.bring(fragment("core", {}, members=1990))
    assert ran == []
    listed = nft("list", "set", "inet", TABLE, "n_core_tag")
    assert listed.count("fd00::") == 1990
    assert world.disturbances == 0


async def test_a_refused_fragment_changes_nothing_and_names_its_rule(world: World) -> None:
    core = fragment("core", {"22": "accept"})
    await world.bring(core)
    before = ours()
    objects = dict(core.objects)
    objects["n_core_in"] = Chain(
        "n_core_in", (Line("accept"), Line("jump n_nobody", "firewall rule fr-7"))
    )
    changes = world.plan(replace(core, objects=objects))
    with pytest.raises(RefusedError, match="firewall rule fr-7, network core"):
        await changes[0].apply()
    assert ours() == before
    assert world.plan(core) == [], "what stands is still known"


async def test_one_network_refused_leaves_the_others(world: World) -> None:
    """Also when the whole table is replaced at once."""
    bad = fragment("core", {"22": "jump n_nobody"})
    good = fragment("ops", {"53": "accept"})
    nft(f"add table inet {TABLE}")
    await world.ruleset.observe()
    assert not world.ruleset.known
    failures = {}
    for change in world.plan(bad, good):
        try:
            await change.apply()
        except RefusedError as error:
            failures[change.network] = str(error)
    assert list(failures) == [CORE]
    assert "n_ops_tcp" in ours()
    assert "n_core" not in ours()


async def test_a_refused_fragment_leaves_its_predecessor_also_in_a_table_made_anew(
    world: World,
) -> None:
    """The table was flushed, and what is wanted by now is refused: better the old rules than none."""
    good, ops = fragment("core", {"22": "accept"}), fragment("ops", {"53": "accept"})
    await world.bring(good, ops)
    before = ours()
    nft("flush", "ruleset")
    await until(lambda: not world.ruleset.known, "the disturbance to be noticed")
    bad = fragment("core", {"22": "jump n_nobody"})
    with pytest.raises(RefusedError):
        await world.bring(bad, ops)
    assert ours() == before


SHUT = {
    Hook.INPUT: (Line('iifname "wg-sdwan-core" drop'),),
    Hook.OUTPUT: (Line('oifname "wg-sdwan-core" drop'),),
}


@pytest.mark.parametrize("before", ["a table of an earlier run", "nothing"])
async def test_a_refused_guard_of_which_nothing_is_known_is_a_shut_door(
    world: World, before: str
) -> None:
    """A restarted agent without a fitting seal knows no predecessor to put in its place."""
    if before != "nothing":
        nft(f"table inet {TABLE} {{\nchain n_core_in {{ drop; }}\n}}")
    bad = replace(fragment("core", {"22": "jump n_nobody"}, guards=True), shut=SHUT)
    good = fragment("ops", {"53": "accept"})
    await world.ruleset.observe()
    failures = []
    for change in world.plan(bad, good):
        try:
            await change.apply()
        except RefusedError:
            failures.append(change.network)
    assert failures == [CORE]
    text = ours()
    assert 'iifname "wg-sdwan-core" drop' in text
    assert 'oifname "wg-sdwan-core" drop' in text
    assert "n_ops_tcp" in text
    # And it opens as soon as the rules are taken.
    await world.bring(fragment("core", {"22": "accept"}, guards=True), good)
    assert 'iifname "wg-sdwan-core" drop' not in ours()
    assert "n_core_tcp" in ours()


async def test_many_ranges_that_go_are_not_deleted_one_by_one(world: World) -> None:
    """libnftables takes 20 s to delete 3,000 of 10,000, and 0.2 s to fill the map anew."""

    def ranges(numbers: range, verdict: str) -> Fragment:
        entries = {f"fd00:{number:x}::/64": verdict for number in numbers}
        nets = ElementMap("n_core_nets", "ipv6_addr", "verdict", True, entries)
        members = frozenset[Prefix](IPv6Network(key) for key in entries)
        tag = PrefixSet("n_core_tag_nets6", 6, True, members)
        return Fragment(CORE, {each.name: each for each in (nets, tag)}, {})

    await world.bring(ranges(range(1, 2001), "accept"))
    ran: list[str] = []
    run = world.worker.run

    async def noted(script: str) -> int | None:
        ran.append(script)
        return await run(script)

    world.worker.run = noted  # type: ignore[method-assign]
    for numbers, verdict in ((range(1, 1501), "accept"), (range(1, 1501), "drop"),
                             (range(1, 1500), "drop")):  # fmt: skip
        await world.bring(ranges(numbers, verdict))
        listed = nft("list", "table", "inet", TABLE)
        assert listed.count("::/64 :") == len(numbers)
        assert listed.count(f": {verdict}") == len(numbers)
        assert listed.count("::/64") == 2 * len(numbers)
    many, changed, one = ran
    assert "flush map" in many
    assert "flush set" in many
    assert "flush map" in changed
    assert "delete element" not in many + changed
    assert "flush" not in one, "a single one is taken out by itself"


async def test_who_is_cancelled_in_the_middle_does_not_know_what_stands(world: World) -> None:
    await world.bring(fragment("core", {"22": "accept"}))
    more = fragment("core", {"22": "accept", "80": "accept"})
    (change,) = world.plan(more)
    task = asyncio.ensure_future(change.apply())
    await asyncio.sleep(0)  # up to where it waits for the worker
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not world.ruleset.known
    await world.ruleset.seal()
    assert not world.seals.exists(), "what is not known is not sealed"
    await world.worker.counters()  # its turn comes when the cancelled write has ended
    world.watch.begin()
    world.watch.end(None)
    await world.bring(more)
    assert "80 : accept" in ours()


@pytest.mark.parametrize(
    "damage",
    [
        ["flush", "ruleset"],
        ["flush", "table", "inet", TABLE],
        ["delete", "table", "inet", TABLE],
        ["flush", "chain", "inet", TABLE, "n_core_in"],
        ["flush", "chain", "inet", TABLE, "base_input"],
        ["add", "rule", "inet", TABLE, "n_core_in", "accept"],
        ["delete", "element", "inet", TABLE, "n_core_tag", "{ fd00::1 }"],
        ["add", "element", "inet", TABLE, "n_core_tag", "{ fd00::99 }"],
    ],
    ids=" ".join,
)
async def test_what_others_do_to_the_table_is_put_right(world: World, damage: list[str]) -> None:
    core, ops = fragment("core", {"22": "accept"}), fragment("ops", {"53": "accept"})
    await world.bring(core, ops)
    before = ours()
    assert world.disturbances == 0
    nft(*damage)
    await until(lambda: world.disturbances == 1, "the disturbance to be noticed")
    assert await world.bring(core, ops)
    assert ours() == before
    await asyncio.sleep(0)
    assert world.disturbances == 1, "our own repair is none"
    assert world.plan(core, ops) == []


async def test_other_tables_are_nobodys_business(world: World) -> None:
    core = fragment("core", {"22": "accept"})
    await world.bring(core)
    for number in range(20):
        nft(f"add table ip {TABLE}; add table inet operator{number}; delete table ip {TABLE}")
    nft("add table inet last")
    world.watch.begin()
    world.watch.end(None)  # reads what is there
    assert world.disturbances == 0


async def test_a_storm_of_others_loses_nothing(world: World) -> None:
    """More notifications than fit: the table is as we left it, and that is known without reading it."""
    core = fragment("core", {"22": "accept"})
    await world.bring(core)
    rules = "\n".join(
        f"add rule inet storm c tcp dport {n % 60000 + 1} accept" for n in range(20000)
    )
    script = f"add table inet storm\nadd chain inet storm c\n{rules}\n"
    await asyncio.to_thread(subprocess.run, ["nft", "-f", "-"], input=script, text=True, check=True)
    nft("delete table inet storm")
    world.watch.begin()
    world.watch.end(None)
    # Others were the last to write: whether it was our table, nobody can say any more.
    if world.disturbances:
        await world.bring(core)
    nft("flush", "chain", "inet", TABLE, "n_core_in")
    await until(lambda: not world.ruleset.known, "the disturbance to be noticed")
    await world.bring(core)
    assert "vmap @n_core_tcp" in ours()


def large(fifth: str = "accept", guards: bool = False) -> Fragment:
    """With a map of as many ranges; of one of them, `fifth` is the verdict."""
    objects: dict[str, RulesetObject] = {
        f"n_core_{n}": Chain(f"n_core_{n}", (Line(f"tcp dport {n + 1} accept"),) * 4)
        for n in range(8000)
    }
    entries = {f"fd00:{n:x}::/64": "accept" for n in range(8000)} | {"fd00:5::/64": fifth}
    objects["n_core_nets"] = ElementMap("n_core_nets", "ipv6_addr", "verdict", True, entries)
    return Fragment(CORE, objects, {}, guards, SHUT if guards else {})


async def test_our_own_large_table_is_no_disturbance(world: World) -> None:
    await world.bring(large())
    world.watch.begin()
    world.watch.end(None)
    assert world.disturbances == 0
    assert world.ruleset.known


BUSY = r"""
import sys, time
from powernode_agent.nftables.library import Library
library = Library()
while True:
    library.run("add table ip other\nadd chain ip other c\nadd rule ip other c accept\n"
                "add table ip other\ndelete table ip other\n")
    time.sleep(1 / float(sys.argv[1]))
"""


@pytest.mark.parametrize("rate", ["3", "140"])
async def test_beside_another_writer_a_large_table_settles(world: World, rate: str) -> None:
    """Each of ours is interleaved with the other's, and libnftables begins its reading anew whenever
    that happens; neither may keep us from writing, sealing, or telling theirs from ours."""
    writer = subprocess.Popen([sys.executable, "-c", BUSY, rate])  # noqa: ASYNC220
    try:
        began = last_generation()
        await until(lambda: last_generation() > began + 1, "the other to write")
        async with asyncio.timeout(60):  # without end, if it goes wrong
            while not world.ruleset.known or world.plan(large()):
                await world.bring(large())
            settled = world.disturbances
            changed = large("drop")
            await world.bring(changed)
            await world.ruleset.seal()
            assert world.seals.exists()
            assert settled <= 1, "at most the first one is not listened to"
            assert world.disturbances == settled
            nft("flush", "chain", "inet", TABLE, "n_core_9")
            await until(lambda: not world.ruleset.known, "the disturbance to be noticed")
            await world.bring(changed)
            assert world.ruleset.known
            assert world.plan(changed) == []
            assert "dport 10" in nft("list", "chain", "inet", TABLE, "n_core_9")
            number = last_generation()
            await until(lambda: last_generation() > number + 2, "the other to write on")
            assert world.ruleset.known
            assert await world.ruleset.purge()
    finally:
        writer.kill()
        writer.wait()


async def test_while_a_large_table_is_made_anew_its_links_are_shut(world: World) -> None:
    guarded = large(guards=True)
    await world.bring(guarded)
    ran: list[str] = []
    run = world.worker.run

    async def noted(script: str) -> int | None:
        ran.append(script)
        return await run(script)

    world.worker.run = noted  # type: ignore[method-assign]
    nft("flush", "chain", "inet", TABLE, "n_core_9")
    await until(lambda: not world.ruleset.known, "the disturbance to be noticed")
    await world.bring(guarded)
    assert len(ran) == 1, "as long as there is a table, it is replaced in one transaction"
    for damage in (["flush", "ruleset"], ["flush", "table", "inet", TABLE]):
        ran.clear()
        nft(*damage)
        await until(lambda: not world.ruleset.known, "the disturbance to be noticed")
        await world.bring(guarded)
        door, whole = ran
        assert 'iifname "wg-sdwan-core" drop' in door
        assert len(door) < 1000
        assert "n_core_7999" in whole
        assert 'iifname "wg-sdwan-core" drop' not in ours()


async def test_a_watch_that_could_not_listen_tries_again(tmp_path: Path, world: World) -> None:
    """And until it can, each look compares the table with what it was."""
    world.watch.close()
    deaf = World(tmp_path / "other.json", listens=False)
    try:
        core = fragment("core", {"22": "accept"})
        await deaf.bring(core)
        for _ in range(3):
            assert await deaf.bring(core) == [], "it is not written again and again"
        assert deaf.ruleset.unheard is not None
        before = ours()
        nft("flush", "chain", "inet", TABLE, "n_core_in")
        await deaf.bring(core)
        assert ours() == before
        deaf.listens = True
        assert await deaf.bring(core) == []
        assert deaf.ruleset.unheard is None
        disturbed = deaf.disturbances
        nft("flush", "chain", "inet", TABLE, "n_core_in")
        await until(lambda: deaf.disturbances > disturbed, "the disturbance to be noticed")
    finally:
        deaf.close()


async def test_the_inventory_tells_the_same_table_from_another(world: World) -> None:
    await world.bring(fragment("core", {"22": "accept", "80": "accept"}, members=300))
    found = inventory(TABLE)
    assert found is not None
    chain = ["inet", TABLE, "n_core_in"]
    nft("add table ip other; add chain ip other n_core_in; add rule ip other n_core_in accept")
    # The set's elements are told in another order from here on.
    for number in range(1, 300, 7):
        nft(
            "delete",
            "element",
            "inet",
            TABLE,
            "n_core_tag",
            f"{{ {host(number).network_address} }}",
        )
        assert inventory(TABLE) != found
        nft("add", "element", "inet", TABLE, "n_core_tag", f"{{ {host(number).network_address} }}")
    assert inventory(TABLE) == found
    for change in (["add", "rule", *chain, "accept"],
                   ["add", "counter", "inet", TABLE, "more"],
                   ["add", "element", "inet", TABLE, "n_core_tcp", "{ 90 : drop }"]):  # fmt: skip
        nft(*change)
        assert inventory(TABLE) != found
        found = inventory(TABLE)
    nft("delete", "table", "inet", TABLE)
    assert inventory(TABLE) is None


async def test_a_restart_writes_nothing(world: World) -> None:
    core = fragment("core", {"22": "accept", "80": "accept"}, members=50)
    await world.bring(core)
    await world.ruleset.seal()
    assert world.ruleset.seal_due() is None
    number = last_generation()
    again = World(world.seals)
    try:
        assert await again.bring(core) == []
        assert last_generation() == number
        assert again.plan(fragment("core", {"22": "accept"})), "and knows what stands"
    finally:
        again.close()


@pytest.mark.parametrize(
    "change",
    [
        ["flush", "chain", "inet", TABLE, "n_core_in"],
        ["add", "element", "inet", TABLE, "n_core_tag", "{ fd00::99 }"],
        ["add", "chain", "inet", TABLE, "mine"],
    ],
    ids=" ".join,
)
async def test_what_changed_while_nobody_ran_is_put_right(world: World, change: list[str]) -> None:
    core = fragment("core", {"22": "accept"})
    await world.bring(core)
    await world.ruleset.seal()
    before = ours()
    world.watch.close()
    nft(*change)
    again = World(world.seals)
    try:
        assert await again.bring(core)
        assert ours() == before
    finally:
        again.close()


async def test_counters_count_on_over_a_change(world: World) -> None:
    core = fragment("core", {"22": "accept"})
    await world.bring(core)
    assert world.ruleset.packets("n_core_dropped") is None
    await world.ruleset.count()
    assert world.ruleset.packets("n_core_dropped") == 0


async def test_purge_removes_the_table_and_nothing_else(world: World) -> None:
    nft(FOREIGN)
    await world.bring(fragment("core", {"22": "accept"}))
    assert await world.ruleset.purge()
    assert nft("list", "tables").split() == ["table", "inet", "operator"]
    assert not await world.ruleset.purge()
