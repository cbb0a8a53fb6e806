"""Our floor under FRR, on real daemons: what is written, left alone, put back and found again."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from frr_own import Frr, frr

from powernode_agent.frr.errors import (
    ForeignConfigError,
    FrrError,
    FrrMissingError,
    FrrRefusedError,
)
from powernode_agent.frr.files import BACKUP_SUFFIX
from powernode_agent.frr.presence import Presence
from powernode_agent.frr.running import MARKER, parse_running
from powernode_agent.frr.service import FrrService
from powernode_agent.frr.supervised import Places, answers
from powernode_agent.model.frr_config import Context, FrrConfig
from powernode_agent.store.note import Note

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

pytestmark = [
    pytest.mark.skipif(shutil.which("/usr/lib/frr/bgpd") is None, reason="FRR is not installed"),
]

BGP: Context = ("router bgp 65000",)
IPV6: Context = (*BGP, "address-family ipv6 unicast")


def config(
    *, neighbors: tuple[str, ...] = ("fd00::2",), networks: int = 0, interval: int = 100
) -> FrrConfig:
    """A speaker, its neighbours in a group, with a filter and BFD."""
    lines = [
        "bgp router-id 10.255.0.1",
        "no bgp default ipv4-unicast",
        "coalesce-time 50",
        "neighbor hubs peer-group",
        "neighbor hubs remote-as 65000",
        "neighbor hubs timers 3 9",
        "neighbor hubs timers connect 1",
    ]
    for neighbor in neighbors:
        lines += [
            f"neighbor {neighbor} peer-group hubs",
            f"neighbor {neighbor} bfd",
            f"neighbor {neighbor} bfd profile pn-{interval}ms",
        ]
    announced = tuple(f"network fd00:{number:x}::/64" for number in range(1, networks + 1))
    return FrrConfig(
        {
            (): (
                "ipv6 prefix-list in seq 5 permit fd00::/16 le 128",
                "bgp route-map delay-timer 1",
            ),
            ("route-map in permit 10",): (
                "match ipv6 address prefix-list in",
                "set local-preference 200",
            ),
            ("route-map in deny 20",): (),
            ("bfd",): (),
            ("bfd", f"profile pn-{interval}ms"): (
                f"transmit-interval {interval}",
                f"receive-interval {interval}",
            ),
            BGP: tuple(lines),
            IPV6: (*announced, "neighbor hubs activate", "neighbor hubs route-map in in"),
        }
    )


@pytest_asyncio.fixture
async def world(private_namespace: PrivateNamespace) -> AsyncIterator[Frr]:
    private_namespace.ip("link", "set", "lo", "up")
    private_namespace.ip("addr", "add", "fd00::1/128", "dev", "lo")
    async with frr() as made:
        yield made


async def until(check: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - FRR sets no event
            await asyncio.sleep(0.02)
    assert check(), what


CONFIGS = {
    "nothing": FrrConfig(),
    "one": config(),
    "more": config(neighbors=("fd00::2", "fd00::3"), networks=20),
    "slower": config(interval=250),
}


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(CONFIGS, 2)])
async def test_from_any_configuration_to_any_other(world: Frr, before: str, after: str) -> None:
    await world.writer.write(CONFIGS[before])
    assert (await world.writer.write(CONFIGS[after])).steps
    running = {**(await world.writer.running()).contexts}
    wanted = {**CONFIGS[after].contexts}
    for context in wanted.keys() | running.keys():
        assert set(running.get(context, ())) == set(wanted.get(context, ())), context
    assert (await world.writer.write(CONFIGS[after])).steps == (), "the same again is nothing"


async def test_the_same_again_sends_nothing_and_one_network_more_is_one_line(world: Frr) -> None:
    await world.writer.write(config(networks=2))
    running = await world.writer.running()
    for _ in range(3):
        assert (await world.writer.write(running)).steps == ()
    more = {**running.contexts, IPV6: (*running.contexts[IPV6], "network fd00:7::/64")}
    line = " / ".join((*IPV6, "network fd00:7::/64"))
    assert (await world.writer.write(FrrConfig(more))).steps == (line,)


@pytest.mark.parametrize(
    ("context", "bad", "named"),
    [
        (BGP, "neighbor fd00::9 remote-nonsense 1", "remote-nonsense"),
        (IPV6, "network not-a-prefix", "not-a-prefix"),
        (BGP, "neighbor fd00::9 peer-group nobody", "nobody"),
        (("route-map in permit 10",), "set local-preference lots", "local-preference"),
        # Taken without a word, and not what was said: FRR prints fd00:8::/64.
        (IPV6, "network fd00:8::1/64", "fd00:8::1/64"),
    ],
)
async def test_what_frr_refuses_or_misreads_leaves_what_stood(
    world: Frr, context: Context, bad: str, named: str
) -> None:
    good = config(networks=3)
    await world.writer.write(good)
    before = world.ask("show running-config")
    wanted = config(neighbors=("fd00::4",), networks=5)
    contexts = {**wanted.contexts, context: (*wanted.contexts[context], bad)}
    with pytest.raises(FrrRefusedError, match=named):
        await world.writer.write(FrrConfig(contexts))
    assert parse_running(world.ask("show running-config")) == parse_running(before)
    assert (await world.writer.write(good)).steps == ()


async def test_five_hundred_networks_go_in_one_writing(world: Frr) -> None:
    await world.writer.write(config(networks=500))
    assert world.ask("show running-config").count("network fd00:") == 500
    await world.writer.write(config())
    assert "network fd00:" not in world.ask("show running-config")


async def test_what_an_operator_entered_by_hand_goes(world: Frr) -> None:
    await world.writer.write(config(networks=2))
    before = world.ask("show running-config")
    world.enter(
        "configure terminal",
        "line vty",
        "exec-timeout 0 0",
        "exit",
        "route-map mine permit 10",
        "on-match goto 30",
        "set as-path prepend 65000 65000",
        "exit",
        "route-map in permit 10",
        "on-match goto 20",
        "set as-path prepend 65000 65000",
        "exit",
        "no ipv6 prefix-list in",
        "ipv6 prefix-list in seq 7 permit fd00::/16 le 128",
        "router bgp 65000",
        "bgp bestpath med missing-as-worst",
        "no bgp network import-check",
        "no bgp ebgp-requires-policy",
        "no neighbor fd00::2",
        "neighbor fd00::2 remote-as 65000",
        "address-family ipv4 unicast",
        "network 10.9.0.0/16",
        "end",
    )
    assert (await world.writer.write(config(networks=2))).steps
    assert parse_running(world.ask("show running-config")) == parse_running(before)


# The service.


@pytest.fixture
def service(world: Frr) -> FrrService:
    return FrrService(world.places, world.daemons, note=world.note)


async def test_frr_conf_is_ours_and_frr_starts_from_it(world: Frr, service: FrrService) -> None:
    path = world.places.config / "frr.conf"
    await service.bring(config(networks=2))
    text = path.read_text()
    assert text.splitlines()[0] == MARKER
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.owner() == "frr"
    # What the daemons would make of it, by their own parser.
    taken = parse_running(text).contexts
    wanted = config(networks=2).contexts
    assert {c: set(lines) for c, lines in taken.items()} == {
        c: set(lines) for c, lines in wanted.items()
    }
    written_at = path.stat().st_mtime_ns
    assert (await service.bring(config(networks=2))).steps == ()
    assert path.stat().st_mtime_ns == written_at
    assert await service.give_back()
    assert not path.exists()
    assert not await answers(world.places.run / "bgpd.vty"), "what we started, we end"
    assert not await service.give_back()


PACKAGED = "# default to using syslog.\n#\nlog syslog informational\n"
FOREIGN = "frr defaults traditional\nrouter bgp 65099\n neighbor 192.0.2.1 remote-as 65098\nexit\n"


async def test_an_operators_configuration_is_adopted_only_when_told(world: Frr) -> None:
    path = world.places.config / "frr.conf"
    path.write_text(FOREIGN)
    with pytest.raises(ForeignConfigError, match="adopt"):
        await FrrService(world.places, world.daemons, note=world.note).bring(config())
    assert path.read_text() == FOREIGN
    assert "router bgp" not in world.ask("show running-config")
    adopting = FrrService(world.places, world.daemons, note=world.note, adopt=True)
    await adopting.bring(config())
    assert path.read_text().startswith(MARKER)
    assert path.with_name(f"frr.conf{BACKUP_SUFFIX}").read_text() == FOREIGN
    await adopting.bring(config(networks=1))
    assert path.with_name(f"frr.conf{BACKUP_SUFFIX}").read_text() == FOREIGN
    await adopting.give_back()
    assert path.read_text() == FOREIGN


async def test_no_file_of_an_operators_is_lost(world: Frr) -> None:
    """Also not for the sake of one that was kept before it."""
    path = world.places.config / "frr.conf"
    kept = path.with_name(f"frr.conf{BACKUP_SUFFIX}")
    path.write_text(PACKAGED)
    service = FrrService(world.places, world.daemons, note=world.note)
    await service.bring(config())
    assert kept.read_text() == PACKAGED
    path.write_text(FOREIGN)
    await service.bring(config())
    assert path.read_text().startswith(MARKER)
    assert kept.read_text() == FOREIGN
    assert kept.with_name(f"{kept.name}.1").read_text() == PACKAGED
    path.write_text(FOREIGN)
    await service.bring(config())
    assert not kept.with_name(f"{kept.name}.2").exists(), "the same is kept once"


async def test_a_link_in_the_place_of_the_file_is_not_followed(world: Frr, tmp_path: Path) -> None:
    """Whoever is FRR could have root hand out a file of root's."""
    path = world.places.config / "frr.conf"
    secret = tmp_path / "secret"
    secret.write_text("a key\n")
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    with pytest.raises(FrrError, match=r"frr\.conf"):
        await FrrService(world.places, world.daemons, note=world.note).bring(config())
    assert not path.with_name(f"frr.conf{BACKUP_SUFFIX}").exists()


async def test_a_file_that_vtysh_wrote_over_ours_is_put_right(
    world: Frr, service: FrrService
) -> None:
    """`write memory` leaves our first line out; that must not freeze what FRR runs."""
    path = world.places.config / "frr.conf"
    await service.bring(config())
    path.write_text(path.read_text().removeprefix(MARKER).lstrip())
    await service.bring(config(networks=1))
    assert path.read_text().startswith(MARKER)
    assert "network fd00:1::/64" in world.ask("show running-config")


def service_after_restart(world: Frr, *, adopt: bool = False) -> FrrService:
    """Of an agent that knows no more than what stands on disk."""
    return FrrService(world.places, world.daemons, note=world.note, adopt=adopt)


async def test_a_file_that_write_memory_wrote_is_ours_after_a_restart_too(
    world: Frr, service: FrrService
) -> None:
    path = world.places.config / "frr.conf"
    await service.bring(config())
    # FRR's own words for what it runs, as vtysh saves them, with what the operator entered.
    world.enter("configure terminal", "route-map mine permit 10", "end")
    saved = world.ask("show running-config")
    assert "pn-100ms" in saved
    assert MARKER not in saved
    path.write_text(saved)
    await service_after_restart(world).bring(config(networks=1))
    assert path.read_text().startswith(MARKER)
    assert "network fd00:1::/64" in world.ask("show running-config")
    assert not path.with_name(f"frr.conf{BACKUP_SUFFIX}").exists(), "it was no one else's"
    path.write_text(world.ask("show running-config"))
    assert await service_after_restart(world).give_back()
    assert not path.exists()
    assert world.note.load() is None, "what was given back is not ours any more"


async def test_a_file_that_was_replaced_while_the_agent_was_away_is_the_operators(
    world: Frr, service: FrrService
) -> None:
    path = world.places.config / "frr.conf"
    await service.bring(config())
    path.write_text(FOREIGN)
    later = service_after_restart(world)
    for _ in range(2):
        with pytest.raises(ForeignConfigError, match="adopt"):
            await later.bring(config())
    assert not await later.give_back()
    assert path.read_text() == FOREIGN
    await service_after_restart(world, adopt=True).bring(config())
    assert path.with_name(f"frr.conf{BACKUP_SUFFIX}").read_text() == FOREIGN


async def test_without_a_note_the_file_that_frr_saved_is_somebody_elses(world: Frr) -> None:
    await world.writer.write(config())
    (world.places.config / "frr.conf").write_text(world.ask("show running-config"))
    with pytest.raises(ForeignConfigError):
        await service_after_restart(world).bring(config())


async def test_a_damaged_note_still_says_that_there_was_one(
    world: Frr, service: FrrService
) -> None:
    path = world.places.config / "frr.conf"
    await service.bring(config())
    note = path.parents[1] / "state" / "frr-ownership"
    note.write_bytes(note.read_bytes()[:-1])
    path.write_text(world.ask("show running-config"))
    await service_after_restart(world).bring(config(networks=1))
    assert path.read_text().startswith(MARKER)
    assert world.note.load(), "and it is written anew"


async def test_a_note_that_cannot_be_written_is_told_before_frr_is(
    world: Frr,
) -> None:
    (world.places.config.parent / "state").write_text("in the way")
    with pytest.raises(FrrError, match="cannot note whose"):
        await service_after_restart(world).bring(config())
    assert "router bgp" not in world.ask("show running-config")


async def test_a_killed_daemon_comes_back_whatever_became_of_the_file(
    world: Frr, service: FrrService
) -> None:
    path = world.places.config / "frr.conf"
    await service.bring(config())
    os.kill(int((world.places.run / "bgpd.pid").read_text()), signal.SIGKILL)
    path.unlink()
    path.mkdir()  # not even to be read
    with pytest.raises(FrrError, match="cannot read"):
        await service.bring(config())
    assert await answers(world.places.run / "bgpd.vty")
    path.rmdir()
    path.write_text(FOREIGN)
    os.kill(int((world.places.run / "bgpd.pid").read_text()), signal.SIGKILL)
    await service.bring(config())
    assert path.read_text().startswith(MARKER)
    assert "neighbor fd00::2" in world.ask("show running-config")


@pytest.mark.parametrize("packaged", [PACKAGED, "", "\n", "# nothing\n"])
async def test_what_the_package_brings_is_nobodys_work(
    world: Frr, service: FrrService, packaged: str
) -> None:
    path = world.places.config / "frr.conf"
    path.write_text(packaged)
    await service.bring(config())
    assert path.read_text().startswith(MARKER)
    await service.give_back()
    assert path.read_text() == packaged


async def test_without_ibgp_frr_is_left_alone(world: Frr, service: FrrService) -> None:
    path = world.places.config / "frr.conf"
    path.write_text(FOREIGN)
    world.enter("configure terminal", "router bgp 65099", "end")
    await service.bring(FrrConfig())
    assert path.read_text() == FOREIGN
    assert "router bgp 65099" in world.ask("show running-config")


async def test_a_host_without_frr_says_what_to_install(tmp_path: Path) -> None:
    places = Places(programs=tmp_path, run=tmp_path / "run", config=tmp_path / "etc")
    service = FrrService(places, _Never(), note=Note(tmp_path / "note", "note"))
    with pytest.raises(FrrMissingError, match="install Debian's package frr"):
        await service.bring(config())
    (tmp_path / "bgpd").write_text("#!/bin/sh\necho bgpd version 7.5.1\n")
    (tmp_path / "bgpd").chmod(0o755)
    with pytest.raises(FrrMissingError, match=r"7\.5.*8\.4 or later"):
        await service.bring(config())
    assert not places.config.exists()


class _Never:
    async def ensure(self) -> tuple[str, ...]:
        raise AssertionError("nothing is started")

    async def revive(self, daemons: Collection[str]) -> tuple[str, ...]:
        raise AssertionError("nothing is revived")

    async def end(self) -> bool:
        raise AssertionError("nothing is ended")


@pytest.mark.parametrize("name", ["zebra", "bgpd", "bfdd"])
async def test_a_killed_daemon_is_noticed_and_comes_back_as_it_was(
    world: Frr, service: FrrService, name: str
) -> None:
    await service.bring(config(networks=2))
    bgpd = (world.places.run / "bgpd.pid").read_text()
    gone: list[str] = []
    presence = Presence(world.places.run, gone.append, lambda _daemon, _waits: None)
    await presence.watch()
    assert gone == []
    os.kill(int((world.places.run / f"{name}.pid").read_text()), signal.SIGKILL)
    await until(lambda: gone == [name], "the death to be noticed")
    await service.bring(config(networks=2))
    if name == "zebra":
        # It would tell a new zebra nothing of what it told the old one.
        assert (world.places.run / "bgpd.pid").read_text() != bgpd
        await until(lambda: gone == ["zebra", "bgpd"], "bgpd to be started anew")
    await presence.watch()
    assert gone in ([name], ["zebra", "bgpd"])
    await presence.close()
    assert "network fd00:2::/64" in world.ask("show running-config")
    assert "transmit-interval 100" in world.ask("show running-config", "bfdd")


async def test_the_daemons_are_nobodys_children(world: Frr) -> None:
    for name in ("zebra", "bgpd", "bfdd"):
        pid = (world.places.run / f"{name}.pid").read_text().strip()
        shown = subprocess.run(  # noqa: ASYNC221
            ["ps", "-o", "ppid=,sid=", "-p", pid], capture_output=True, text=True, check=True
        )
        parent, session = shown.stdout.split()
        assert int(parent) != os.getpid()
        assert int(session) != os.getsid(0)
    assert await world.daemons.ensure() == ()
