"""Port mappings with real packets: client outside, hub, server inside; see `portmap_world`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from portmap_world import (
    CLIENT4,
    CLIENT6,
    HUB4,
    HUB6,
    NET,
    OTHER_HUB4,
    OTHER_HUB6,
    OVERLAY4,
    OVERLAY6,
    PEER4,
    PEER6,
    SERVER4,
    SERVER6,
    TCP,
    UDP,
    Hub,
    World,
    mapping,
    run,
    state_of,
    until,
)

from powernode_agent.model.status import Result
from powernode_agent.portmap import processes
from powernode_agent.portmap.translator import FILE_PREFIX
from powernode_agent.portmap.translator import LINK as NAT64_LINK

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

    from powernode_agent.model.port_mapping import PortMapping

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(shutil.which("tayga") is None, reason="tayga is not installed"),
]

V6 = mapping("v6", HUB6, SERVER6)
V4 = mapping("v4", HUB4, SERVER4)
NAT64 = mapping("nat64", HUB4, SERVER6)
NOBODY = 65534
ANY4 = "0.0.0.0"  # noqa: S104
SHORT = 0.5
"""Seconds after which an answer that must not come is not waited for any more."""


@pytest.fixture
def world(private_namespace: PrivateNamespace) -> Iterator[World]:
    with World() as made:
        yield made


@pytest_asyncio.fixture
async def hub(world: World, tmp_path: Path) -> AsyncIterator[Hub]:
    made = Hub(tmp_path / "run")
    await made.start()
    try:
        yield made
    finally:
        await made.room.purge()
        await made.close()


def setting(key: str) -> Path:
    return Path("/proc/sys", key)


def taygas(hub: Hub) -> list[processes.Translator]:
    return processes.find("tayga", hub.runtime, FILE_PREFIX)


@pytest.mark.parametrize(
    ("external", "internal", "client", "seen"),
    [
        (HUB6, SERVER6, CLIENT6, OVERLAY6),
        (HUB4, SERVER4, CLIENT4, OVERLAY4),
        (HUB4, SERVER6, CLIENT4, OVERLAY6),
    ],
    ids=["6-to-6", "4-to-4", "4-to-6"],
)
async def test_from_outside_by_tcp_and_udp_the_target_is_reached_and_sees_the_hub(
    world: World, hub: Hub, external: str, internal: str, client: str, seen: str
) -> None:
    for protocol in (TCP, UDP):
        world.serve("server", internal, 8443, protocol)
    await hub.bring(mapping("t", external, internal), mapping("u", external, internal, UDP))
    assert hub.failures == {}
    assert world.connect("client", client, external).heard() == f"server {internal} {seen}"
    assert world.datagrams("client", client, external).ask("x" * 9) == f"server {internal} {seen} 9"
    statuses = await hub.statuses()
    assert {id_: (each.result, each.connections) for id_, each in statuses.items()} == {
        "t": (Result.OK, 1),
        "u": (Result.OK, 1),
    }
    assert await hub.bring(*hub.state.networks[NET].port_mappings.values()) == []


@pytest.mark.parametrize(
    ("external", "internal", "peer", "seen"),
    [
        (HUB6, SERVER6, PEER6, OVERLAY6),
        (HUB4, SERVER4, PEER4, OVERLAY4),
        (HUB4, SERVER6, PEER4, OVERLAY6),
    ],
    ids=["6-to-6", "4-to-4", "4-to-6"],
)
async def test_hairpin_from_inside_and_the_hubs_own_connections(
    world: World, hub: Hub, external: str, internal: str, peer: str, seen: str
) -> None:
    for protocol in (TCP, UDP):
        world.serve("server", internal, 8443, protocol)
    await hub.bring(mapping("t", external, internal), mapping("u", external, internal, UDP))
    assert world.connect("server", peer, external).heard() == f"server {internal} {seen}"
    assert world.datagrams("server", peer, external).ask() == f"server {internal} {seen} 5"
    own = "::" if ":" in external else ANY4
    assert world.connect("hub", own, external).heard() == f"server {internal} {seen}"
    assert world.datagrams("hub", own, external).ask() == f"server {internal} {seen} 5"
    assert (await hub.statuses())["t"].connections == 2


@pytest.mark.parametrize(
    ("external", "internal", "client"),
    [
        (HUB6, OVERLAY6, CLIENT6),
        (HUB4, OVERLAY4, CLIENT4),
        (HUB4, OVERLAY6, CLIENT4),
    ],
    ids=["6-to-6", "4-to-4", "4-to-6"],
)
async def test_the_target_may_be_the_hub_itself(
    world: World, hub: Hub, external: str, internal: str, client: str
) -> None:
    for protocol in (TCP, UDP):
        world.serve("hub", internal, 8443, protocol)
    await hub.bring(mapping("t", external, internal), mapping("u", external, internal, UDP))
    assert world.connect("client", client, external).heard().startswith(f"hub {internal} ")
    assert world.datagrams("client", client, external).ask().startswith(f"hub {internal} ")


async def test_another_address_of_the_hub_keeps_the_port(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443)
    for address in (OTHER_HUB4, OTHER_HUB6):
        world.serve("hub", address, 443)
    await hub.bring(V6, NAT64)
    assert await hub.all_fine()
    assert world.connect("client", CLIENT4, OTHER_HUB4).heard() == f"hub {OTHER_HUB4} {CLIENT4}"
    assert world.connect("client", CLIENT6, OTHER_HUB6).heard() == f"hub {OTHER_HUB6} {CLIENT6}"
    assert world.connect("client", CLIENT4, HUB4).heard().startswith("server")


async def test_two_external_addresses_share_a_port_and_lead_to_two_targets(
    world: World, hub: Hub
) -> None:
    world.serve("server", SERVER6, 8443)
    world.serve("server", PEER6, 9443)
    await hub.bring(NAT64, mapping("other", OTHER_HUB4, PEER6, to=9443))
    assert world.connect("client", CLIENT4, HUB4).heard().startswith(f"server {SERVER6} ")
    assert world.connect("client", CLIENT4, OTHER_HUB4).heard().startswith(f"server {PEER6} ")


async def test_a_local_service_keeps_its_port_and_the_mapping_says_whose_it_is(
    world: World, hub: Hub
) -> None:
    world.serve("server", SERVER6, 8443)
    world.serve("server", SERVER6, 8443, UDP)
    world.serve("hub", HUB6, 443)
    world.serve("hub", ANY4, 443, UDP)
    udp = mapping("udp", HUB4, SERVER6, UDP)
    await hub.bring(V6, NAT64, udp)
    assert world.connect("client", CLIENT6, HUB6).heard() == f"hub {HUB6} {CLIENT6}"
    assert world.datagrams("client", CLIENT4, HUB4).ask() == f"hub {ANY4} {CLIENT4} 5"
    assert world.connect("client", CLIENT4, HUB4).heard().startswith("server"), "this one is free"
    statuses = await hub.statuses()
    assert statuses["nat64"].result is Result.OK
    assert statuses["v6"].result is Result.ERROR
    assert f"[{HUB6}]:443" in statuses["v6"].message
    assert "ss -tlnp 'sport = :443'" in statuses["v6"].message
    assert statuses["udp"].result is Result.ERROR
    assert "ss -ulnp" in statuses["udp"].message


async def test_a_service_that_comes_later_does_not_end_the_mapping(world: World, hub: Hub) -> None:
    """Any local user may listen above 1023; nor does it after a restart of the agent."""
    world.serve("server", SERVER6, 8443)
    await hub.bring(V6)
    with world.socket("hub", HUB6, 443, TCP) as listener:
        listener.listen()
        await hub.bring(V6)
        assert (await hub.statuses())["v6"].result is Result.OK
        assert [str(each) for each in hub.room.clashes.outvoted.values()] == [f"[{HUB6}]:443"]
        again = Hub(hub.runtime)
        await again.start()
        try:
            await again.bring(V6)
            assert await again.all_fine()
            assert again.room.clashes.outvoted.keys() == {V6.id}
        finally:
            await again.close()
        assert world.connect("client", CLIENT6, HUB6).heard().startswith("server")
        # Taken away and asked for anew, it is a new one, and the service keeps its port.
        await hub.bring()
        await hub.bring(V6)
        assert (await hub.statuses())["v6"].result is Result.ERROR
        world.connect("client", CLIENT6, HUB6)
        assert listener.accept()[1][0] == CLIENT6
    await hub.bring(V6)
    assert world.connect("client", CLIENT6, HUB6).heard().startswith("server")
    assert not hub.room.clashes.outvoted


@pytest.mark.parametrize("removed", [V6, V4, NAT64], ids=lambda each: each.id)
async def test_a_removed_mapping_ends_its_flows_and_leaves_those_of_another(
    world: World, hub: Hub, removed: PortMapping
) -> None:
    external, target = str(removed.external_address), str(removed.internal_address)
    client, other = (CLIENT6, OTHER_HUB6) if removed is V6 else (CLIENT4, OTHER_HUB4)
    kept = [
        mapping("port", external, target, port=444),
        mapping("address", other, target),
        mapping("protocol", external, target, UDP),
    ]
    world.serve("server", target, 8443)
    world.serve("server", target, 8443, UDP)
    await hub.bring(removed, *kept)
    flow = world.connect("client", client, external)
    others = [
        world.connect("client", client, external, 444),
        world.connect("client", client, other),
    ]
    for each in (flow, *others):
        assert each.heard().startswith("server")
        assert each.ask("before") == "before"
    datagrams = world.datagrams("client", client, external)
    assert datagrams.ask().endswith(" 5")
    await hub.bring(*kept)
    assert hub.ended == (2 if removed is NAT64 else 1)
    with pytest.raises(ConnectionError):
        flow.ask("after")
    for each in others:
        assert each.ask("after") == "after"
    assert datagrams.ask("after").endswith(" 5")
    with pytest.raises(ConnectionRefusedError):
        world.connect("client", client, external)


@pytest.mark.parametrize("old", [V6, V4, NAT64], ids=lambda each: each.id)
async def test_a_changed_mapping_leads_elsewhere_at_once_for_old_udp_flows_too(
    world: World, hub: Hub, old: PortMapping
) -> None:
    external, internal = str(old.external_address), str(old.internal_address)
    client = CLIENT6 if old is V6 else CLIENT4
    other = PEER4 if old is V4 else PEER6
    for address in (internal, other):
        world.serve("server", address, 8443, UDP)
    # Before there is a mapping: the port is closed, and conntrack remembers the flow all the same.
    flow = world.datagrams("client", client, external)
    with pytest.raises(ConnectionRefusedError):
        flow.ask()
    await hub.bring(mapping("m", external, internal, UDP))
    assert flow.ask().startswith(f"server {internal} ")
    await hub.bring(mapping("m", external, other, UDP))
    assert flow.ask().startswith(f"server {other} ")
    # The counter counts on. Before the NAT64 it is the same connection as it was.
    assert (await hub.statuses())["m"].connections == (1 if old is NAT64 else 2)


async def test_many_mappings_go_at_once_and_their_flows_with_them(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443, UDP)
    kept = mapping("kept", HUB6, SERVER6, UDP, 500)
    gone = [
        mapping(f"{address}-{port}", address, SERVER6, UDP, port)
        for address in (HUB6, HUB4)
        for port in range(501, 521)
    ]
    await hub.bring(kept, *gone)
    flows = [
        world.datagrams(
            "client",
            CLIENT4 if each.external_address.version == 4 else CLIENT6,
            str(each.external_address),
            each.external_port,
        )
        for each in (kept, *gone)
    ]
    for flow in flows:
        assert flow.ask().startswith("server")
    await hub.bring(kept)
    assert hub.ended == 20 + 2 * 20
    assert flows[0].ask().startswith("server")
    for flow in (flows[1], flows[-1]):  # of each family: the kernel tells a host only so often
        with pytest.raises(ConnectionRefusedError):
            flow.ask()


async def test_an_external_address_that_is_routed_to_the_hub_is_mapped_too(
    world: World, hub: Hub
) -> None:
    world.serve("server", SERVER6, 8443)
    routed = "192.0.2.50"
    run("ip", "-n", world.namespaces["client"], "route", "add", routed, "via", HUB4)
    for command in ("add", "del"):  # on the loopback link, then nowhere
        run("ip", "addr", command, f"{routed}/32", "dev", "lo")
        await hub.bring(mapping("m", routed, SERVER6))
        assert await hub.all_fine()
        assert world.connect("client", CLIENT4, routed).heard().startswith("server")


async def test_an_agent_that_died_before_it_ended_old_flows_ends_them_when_it_is_back(
    world: World, hub: Hub
) -> None:
    world.serve("server", SERVER6, 8443)
    # The kernel translates as long as there is any mapping at all; with the last one old flows end.
    kept = mapping("kept", HUB6, SERVER6, port=444)
    await hub.bring(V6, kept)
    flow = world.connect("client", CLIENT6, HUB6)
    assert flow.heard().startswith("server")
    hub.state = state_of((kept,))
    for change in await hub.plan():
        await change.apply()
    assert flow.ask("still") == "still", "here it dies"
    again = Hub(hub.runtime)
    await again.start()
    try:
        await again.bring(kept)
        assert again.ended == 1
        with pytest.raises(ConnectionError):
            flow.ask("after")
    finally:
        await again.close()


async def test_tayga_outlives_the_agent_and_a_new_one_finds_it(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443)
    await hub.bring(NAT64)
    flow = world.connect("client", CLIENT4, HUB4)
    assert flow.heard().startswith("server")
    before = taygas(hub)
    assert len(before) == 1
    parent, session = run("ps", "-o", "ppid=,sid=", "-p", str(before[0].pid)).split()
    assert int(parent) != os.getpid(), "it is nobody's child"
    assert int(session) != os.getsid(0), "and in a session of its own"
    # Not even what it knew of its mappings is needed: flows that are as they should be stay.
    (hub.runtime / "port-mappings.json").unlink()
    again = Hub(hub.runtime)
    await again.start()
    try:
        lines = await again.bring(NAT64)
        assert not [line for line in lines if "NAT64" in line]
        assert again.ended == 0
        assert flow.ask("still") == "still"
        assert taygas(hub) == before
        assert await again.all_fine()
    finally:
        await again.close()


async def test_a_killed_tayga_is_started_again_and_flows_go_on(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443)
    await hub.bring(NAT64)
    flow = world.connect("client", CLIENT4, HUB4)
    assert flow.heard().startswith("server")
    processes.end(taygas(hub)[0], force=True)
    until(
        lambda: not setting(f"net/ipv4/conf/{NAT64_LINK}").exists() and not taygas(hub), "its end"
    )
    await hub.netlink.settle()
    assert not await hub.all_fine()
    lines = await hub.bring(NAT64)
    assert lines == [f"portmap: start NAT64: tayga on {NAT64_LINK}"]
    assert flow.ask("after") == "after"
    assert await hub.all_fine()


async def test_a_stopped_tayga_is_told_and_not_touched(world: World, hub: Hub) -> None:
    await hub.bring(NAT64)
    (running,) = taygas(hub)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        until(lambda: processes.is_stopped(running.pid), "tayga to stop")
        assert await hub.bring(NAT64) == []
        status = (await hub.statuses())["nat64"]
        assert status.result is Result.ERROR
        assert f"kill -CONT {running.pid}" in status.message
    finally:
        os.kill(running.pid, signal.SIGCONT)
    until(lambda: not processes.is_stopped(running.pid), "tayga to go on")
    assert await hub.bring(NAT64) == []
    assert await hub.all_fine()


async def test_a_deleted_link_leaves_no_spinning_tayga(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443)
    await hub.bring(NAT64)
    lost = taygas(hub)[0]
    run("ip", "link", "del", NAT64_LINK)
    await hub.bring(NAT64)
    assert [each.pid for each in taygas(hub)] != [lost.pid]
    assert world.connect("client", CLIENT4, HUB4).heard().startswith("server")
    run("ip", "link", "del", NAT64_LINK)
    await hub.bring()
    assert taygas(hub) == []


async def test_what_somebody_did_to_the_nat64_link_is_repaired(world: World, hub: Hub) -> None:
    await hub.bring(NAT64)
    run("ip", "route", "del", "192.0.0.6/32")
    for link in (NAT64_LINK, "eth0"):
        setting(f"net/ipv4/conf/{link}/forwarding").write_text("0")
    lines = await hub.bring(NAT64)
    assert lines == [
        f"portmap: {NAT64_LINK}: route 192.0.0.6/32",
        f"portmap: net/ipv4/conf/{NAT64_LINK}/forwarding: 1",
        "portmap: net/ipv4/conf/eth0/forwarding: 1",
    ]
    assert await hub.bring(NAT64) == []


async def test_with_the_last_mapping_that_needs_it_tayga_goes(world: World, hub: Hub) -> None:
    await hub.bring(V6, NAT64)
    lines = await hub.bring(V6)
    assert f"portmap: stop NAT64: tayga on {NAT64_LINK}" in lines
    assert taygas(hub) == []
    assert hub.netlink.link_by_name(NAT64_LINK) is None
    assert await hub.bring(V6) == []


async def test_without_mappings_nothing_of_the_host_is_touched(world: World, hub: Hub) -> None:
    await hub.bring()
    assert hub.netlink.link_by_name(NAT64_LINK) is None
    assert setting("net/ipv4/conf/eth0/forwarding").read_text() == "0\n"
    await hub.bring(V6)
    assert setting("net/ipv4/conf/eth0/forwarding").read_text() == "0\n"
    await hub.bring(V4)
    assert setting("net/ipv4/conf/eth0/forwarding").read_text() == "1\n"
    assert setting("net/ipv4/ip_forward").read_text() == "0\n"


async def test_without_tayga_only_the_mappings_that_need_it_fail(
    world: World, tmp_path: Path
) -> None:
    world.serve("server", SERVER6, 8443)
    hub = Hub(tmp_path / "run", tayga="tayga-that-is-not-there")
    await hub.start()
    try:
        await hub.bring(V6, NAT64)
        statuses = await hub.statuses()
        assert statuses["v6"].result is Result.OK
        assert statuses["nat64"].result is Result.ERROR
        assert "install Debian's package tayga" in statuses["nat64"].message
        assert world.connect("client", CLIENT6, HUB6).heard().startswith("server")
        # Nor does what is meant for it leave by the default route.
        run("ip", "-n", world.namespaces["client"], "addr", "add", "192.0.0.6/32", "dev", "lo")
        world.serve("client", "192.0.0.6", 443)
        with pytest.raises(TimeoutError):
            world.connect("client", CLIENT4, HUB4, wait=SHORT)
    finally:
        await hub.close()


async def test_a_foreign_link_of_the_name_is_left_alone(world: World, hub: Hub) -> None:
    run("ip", "link", "add", NAT64_LINK, "type", "veth")
    await hub.bring(V6, NAT64)
    statuses = await hub.statuses()
    assert statuses["v6"].result is Result.OK
    assert statuses["nat64"].result is Result.ERROR
    assert "not ours" in statuses["nat64"].message
    assert taygas(hub) == []
    await hub.bring()
    run("ip", "link", "show", NAT64_LINK)
    run("ip", "link", "del", NAT64_LINK)
    await hub.bring(NAT64)
    assert await hub.all_fine()


@pytest.mark.parametrize("inside_mtu", [1420, 1280])
async def test_a_large_transfer_by_ipv4_to_a_smaller_mtu_inside(
    private_namespace: PrivateNamespace, tmp_path: Path, inside_mtu: int
) -> None:
    with World(inside_mtu) as world:
        world.swallow("server", SERVER6, 8443)
        hub = Hub(tmp_path / "run", mtu=inside_mtu)
        await hub.start()
        try:
            await hub.bring(V6, NAT64)
            for source, to in ((CLIENT6, HUB6), (CLIENT4, HUB4)):
                flow = world.connect("client", source, to)
                size = 32 << 20
                started = time.monotonic()
                piece = memoryview(bytes(1 << 18))
                for _ in range(size >> 18):
                    flow.sock.sendall(piece)
                flow.sock.shutdown(socket.SHUT_WR)
                assert flow.heard() == str(size)
                seconds = time.monotonic() - started
                mss = flow.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                print(f"{source} -> {to}: {size * 8 / seconds / 1e6:.0f} Mbit/s, MSS {mss}")
                assert mss <= inside_mtu - 60
        finally:
            await hub.room.purge()
            await hub.close()


async def test_udp_too_large_for_the_inside_learns_the_mtu_or_arrives_in_fragments(
    world: World, hub: Hub
) -> None:
    world.serve("server", SERVER6, 8443, UDP)
    await hub.bring(mapping("u", HUB4, SERVER6, UDP))
    flow = world.datagrams("client", CLIENT4, HUB4)
    flow.sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
    assert flow.ask("x" * 1472).endswith(" 1472")
    assert flow.ask("x" * 4000).endswith(" 4000")
    flow.sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_PMTUDISC_DO

    def known_mtu() -> int:
        return flow.sock.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU

    def fits() -> bool:
        with suppress(OSError):  # nothing comes, or the kernel knows better by now
            return flow.ask("x" * (known_mtu() - 28), SHORT).startswith("server")
        return False

    until(fits, "a datagram of the path's MTU")
    assert known_mtu() == 1400, "the inside's, less what IPv6 takes more"


async def test_nobody_uses_the_nat64_but_by_a_mapping(world: World, hub: Hub) -> None:
    world.serve("server", SERVER6, 8443, UDP)
    await hub.bring(mapping("u", HUB4, SERVER6, UDP))
    client = world.datagrams("client", CLIENT4, HUB4)
    assert client.ask().startswith("server")
    namespace = world.namespaces["client"]
    run("ip", "-n", namespace, "route", "add", "192.0.0.6/32", "via", HUB4)
    run("ip", "-n", namespace, "route", "add", "fdc2:d5cd:4cb6::/48", "via", HUB6)
    direct = world.datagrams("client", CLIENT4, "192.0.0.6")
    with pytest.raises(TimeoutError):
        direct.ask(wait=SHORT)
    run("ip", "-n", namespace, "addr", "add", "fdc2:d5cd:4cb6:ffff::9/128", "dev", "lo")
    target = world.socket("client", CLIENT4, 7777, UDP)
    relay = world.socket("client", "fdc2:d5cd:4cb6:ffff::9", 0, UDP)
    relay.sendto(b"relayed", ("fdc2:d5cd:4cb6:ffff::c633:6409", 7777))
    target.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        target.recv(100)


async def test_what_others_rewrite_on_this_host_is_left_alone(world: World, hub: Hub) -> None:
    await hub.bring(mapping("u", HUB6, SERVER6, UDP))
    rules = f"""table ip6 foreign {{
        chain pre {{
            type nat hook prerouting priority dstnat; policy accept;
            ip6 daddr {HUB6} udp dport 444 dnat to [{SERVER6}]:8443
        }}
    }}"""
    run("nft", "-f", "-", given=rules)
    target = world.socket("server", SERVER6, 8443, UDP)
    world.datagrams("client", CLIENT6, HUB6, 444).sock.send(b"hello")
    assert target.recvfrom(100)[1][0] == CLIENT6, "it has another's source"


def test_it_works_without_root_with_the_capabilities_of_the_unit(
    world: World,
) -> None:
    world.serve("server", SERVER6, 8443)
    # Not below pytest's own directory, which nobody else may enter.
    runtime = Path(tempfile.mkdtemp(prefix="pnt-map"))
    tun = runtime / "tun"
    capabilities = "-all,+net_admin,+net_raw"
    try:
        os.mknod(tun, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
        for path in (runtime, tun):
            os.chown(path, NOBODY, NOBODY)
        child = subprocess.Popen(
            [
                # As udev has it: anyone may open it.
                *("unshare", "--mount", "sh", "-c", f'mount --bind {tun} /dev/net/tun; exec "$@"'),
                *("sh", "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
                *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
                *(f"--bounding-set={capabilities}", "--no-new-privs"),
                *(sys.executable, str(Path(__file__).with_name("hub_child.py")), str(runtime)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "READY\n"
            flow = world.connect("client", CLIENT4, HUB4)
            assert flow.heard().startswith("server")
            said, _ = child.communicate("go\n", timeout=60)
            assert said == "ended 2 {}\n"
        with pytest.raises(ConnectionError):
            flow.ask("after")
    finally:
        shutil.rmtree(runtime)
