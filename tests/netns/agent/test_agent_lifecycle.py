"""The daemon's life and the data plane's: stopping, crashing and starting again change no packet; what
others break of ours is repaired; what is theirs is never touched; `purge` alone tears down."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_world import (
    CORE,
    CORE_LINK,
    CORE_PREFIX,
    HUB,
    LAST_KNOWN_GOOD,
    SPOKE,
    STATE_FILE,
    World,
    addresses,
    agent,
    await_applied,
    await_passes,
    await_ping,
    configure,
    ip,
    kernel,
    kernel_writes,
    link,
    make_pair,
    metrics,
    more_probes,
    passes,
    routes,
    start,
    status,
    wg,
    write_state,
)

from netns_lab import processes, sabotage
from netns_lab.lab import Lab
from netns_lab.node import AGENT_PROGRAM, LabNode
from netns_lab.topology import Topology, plain_topology

NOTIFY = Path("/run/notify.sock")


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    made = module_lab(plain_topology(hubs=1, spokes=1, platform=False))
    configure(made)
    return made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    world = World.of(lab)
    for name in (HUB, SPOKE):
        write_state(lab.node(name), world.state(name))
        start(lab.node(name))
    return world


@pytest.fixture
def spoke(lab: Lab, world: World) -> LabNode:
    """The spoke, in good order, its overlay up."""
    node = lab.node(SPOKE)
    write_state(node, world.state(SPOKE))
    if node.agent() is None:
        start(node)
    await_applied(node, 1)
    await_ping(node, CORE[HUB])
    return node


@contextmanager
def notify_socket(node: LabNode) -> Iterator[socket.socket]:
    """What systemd would listen on."""
    path = node.path(NOTIFY)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(20)
        yield sock


def await_message(sock: socket.socket, wanted: str) -> list[str]:
    """All messages up to and including the one that begins so."""
    seen: list[str] = []
    while True:
        seen.append(sock.recv(4096).decode())
        if seen[-1].startswith(wanted):
            return seen


def _silent(sock: socket.socket, seconds: float) -> bool:
    """Whether nothing comes for so long."""
    sock.settimeout(seconds)
    try:
        sock.recv(4096)
    except TimeoutError:
        return True
    return False


def bindable(node: LabNode, address: str) -> bool:
    def bind() -> bool:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((address, 0))
            except OSError:
                return False
            return True

    return node.inside(bind)


# Life and death.


@pytest.mark.parametrize("death", ["SIGTERM", "SIGKILL"])
def test_a_restart_costs_no_packet_and_no_write(lab: Lab, spoke: LabNode, death: str) -> None:
    before = kernel(spoke)
    wireguard = sabotage.wireguard_processes(spoke)
    with spoke.probe(CORE[HUB]) as probe, lab.node(HUB).probe(CORE[SPOKE]) as back:
        for node in (spoke, lab.node(HUB)):
            if death == "SIGTERM":
                node.stop_agent()
            else:
                node.kill_agent()
        more_probes(probe, 30)
        assert kernel(spoke) == before
        for node in (spoke, lab.node(HUB)):
            monitor = _monitor(node)
            start(node)
            await_applied(node, 1)
            await_passes(node, 2, "poll")
            assert kernel_writes(node) == 0
            assert _monitored(node, monitor) == ""
        more_probes(probe, 30)
    assert (probe.result().lost, back.result().lost) == (0, 0)
    assert kernel(spoke) == before
    assert sabotage.wireguard_processes(spoke) == wireguard


def _monitor(node: LabNode) -> processes.ProcessRecord:
    """The kernel's own account of what changes: `ip monitor`."""
    node.paths.log(node.name, "monitor").unlink(missing_ok=True)
    return node.spawn("monitor", ["ip", "monitor", "link", "address", "route"])


def _monitored(node: LabNode, record: processes.ProcessRecord) -> str:
    processes.end([record])
    return node.log("monitor")


def test_sighup_looks_at_everything_and_ends_nothing(spoke: LabNode) -> None:
    record = spoke.agent()
    assert record is not None
    before = passes(spoke, "operator")
    processes.send_signal(record, signal.SIGHUP)
    processes.wait_until(
        lambda: passes(spoke, "operator") > before, what="the pass SIGHUP asks for"
    )
    assert spoke.agent() == record


def test_ready_when_addresses_can_be_bound_then_signs_of_life(spoke: LabNode, world: World) -> None:
    spoke.stop_agent()
    assert "removed link" in agent(spoke, "purge", "--yes").stdout
    spoke.path(STATE_FILE).unlink()
    environment = {"NOTIFY_SOCKET": str(NOTIFY), "WATCHDOG_USEC": "2000000"}
    with notify_socket(spoke) as sock:
        start(spoke, environment)
        # Nothing is desired yet: no READY, however many looks were taken.
        early = await_message(sock, "WATCHDOG=1")
        assert not any(message.startswith("READY") for message in early)
        assert not bindable(spoke, CORE[SPOKE])
        write_state(spoke, world.state(SPOKE))
        await_message(sock, "READY=1")
        assert bindable(spoke, CORE[SPOKE])
        for _ in range(3):
            await_message(sock, "WATCHDOG=1")

        # A foreign link in the way of one network is no reason to be restarted.
        spoke.run(["ip", "link", "add", "wg-sdwan-ops", "type", "veth", "peer", "name", "veth-x"])
        write_state(spoke, world.with_ops(SPOKE, 2))
        processes.wait_until(lambda: status(spoke)["revision"]["accepted"] == 2, what="revision 2")
        for _ in range(3):
            await_message(sock, "WATCHDOG=1")
        spoke.run(["ip", "link", "delete", "wg-sdwan-ops"])

        # Purged, it stays alive and purged; systemd would restart it into building again.
        assert agent(spoke, "purge", "--yes").returncode == 0
        for _ in range(3):
            await_message(sock, "WATCHDOG=1")
        assert link(spoke) is None
        record = spoke.agent()
        assert record is not None
        processes.send_signal(record, signal.SIGTERM)
        await_message(sock, "STOPPING=1")
        assert not processes.await_end([record], 10)


def test_a_hanging_daemon_gives_no_sign_of_life(spoke: LabNode) -> None:
    """WireGuard of the only network does not answer: good passes stop, and so do signs of life."""
    spoke.stop_agent()
    environment = {"NOTIFY_SOCKET": str(NOTIFY), "WATCHDOG_USEC": "400000"}
    (wireguard,) = sabotage.wireguard_processes(spoke)
    with notify_socket(spoke) as sock:
        start(spoke, environment)
        await_message(sock, "READY=1")
        await_message(sock, "WATCHDOG=1")
        processes.send_signal(wireguard, signal.SIGSTOP)
        try:
            processes.wait_until(lambda: _silent(sock, 3), what="signs of life to stop", timeout=30)
        finally:
            processes.send_signal(wireguard, signal.SIGCONT)
        sock.settimeout(30)
        await_message(sock, "WATCHDOG=1")
    spoke.stop_agent()


def test_a_second_daemon_is_refused(spoke: LabNode) -> None:
    first = spoke.agent()
    before = kernel(spoke)
    done = spoke.run([str(AGENT_PROGRAM), "run", "--desired-state", str(STATE_FILE)], check=False)
    assert done.returncode == 1
    assert "another" in done.stderr
    assert "Traceback" not in done.stderr
    assert spoke.agent() == first
    assert kernel(spoke) == before
    assert status(spoke)["state"] == "ok"


# The last-known-good state.


def test_a_reboot_without_the_source_has_its_overlay(lab: Lab, spoke: LabNode) -> None:
    spoke.path(STATE_FILE).unlink()
    spoke.kill_agent()
    sabotage.kill_wireguard(spoke)
    assert link(spoke) is None
    start(spoke)
    await_ping(spoke, CORE[HUB])
    found = status(spoke)
    assert found["revision"]["applied"] == 1
    assert found["platform"].startswith("away for")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _give_away(path: Path) -> None:
    os.chown(path, 1000, 1000)


def _show_group(path: Path) -> None:
    path.chmod(0o640)


@pytest.mark.parametrize("harm", [_truncate, _flip, _empty, _give_away, _show_group])
def test_a_doubtful_last_known_good_is_refused(
    spoke: LabNode, world: World, harm: Callable[[Path], None]
) -> None:
    spoke.path(STATE_FILE).unlink()
    spoke.stop_agent()
    sabotage.kill_wireguard(spoke)
    harm(spoke.path(LAST_KNOWN_GOOD))
    monitor = _monitor(spoke)
    start(spoke)
    await_passes(spoke, 3)
    assert _monitored(spoke, monitor) == "", "nothing is written before a verified state"
    assert link(spoke) is None
    done = agent(spoke, "status")
    assert done.returncode == 3
    assert "last-known-good" in done.stdout
    assert kernel_writes(spoke) == 0
    # The source answers: it recovers, and the next start has a good file again.
    write_state(spoke, world.state(SPOKE))
    await_applied(spoke, 1)
    await_ping(spoke, CORE[HUB])
    processes.wait_until(
        lambda: agent(spoke, "status").returncode == 0, what="the error to be over", interval=0.1
    )
    assert spoke.path(LAST_KNOWN_GOOD).stat().st_mode & 0o777 == 0o600


# Drift.


def _in_order(node: LabNode, world: World) -> bool:
    found = link(node)
    return (
        found is not None
        and found["mtu"] == 1440
        and "UP" in found["flags"]
        and found.get("ifalias") == "powernode-sdwan:net-core"
        and addresses(node) == {f"{CORE[SPOKE]}/128"}
        and _lasting(node)
        and routes(node) >= {CORE_PREFIX}
        and {key: (peer.allowed_ips, peer.preshared) for key, peer in wg(node).items()}
        == {world.keys[HUB].public: (frozenset({CORE_PREFIX, f"{CORE[HUB]}/128"}), world.preshared)}
        and node.run(["wg", "show", CORE_LINK, "listen-port"]).stdout.strip() == "51820"
        and node.run(["wg", "show", CORE_LINK, "public-key"]).stdout.strip()
        == world.keys[SPOKE].public
    )


def _lasting(node: LabNode) -> bool:
    """Whether iproute2 says "forever" of all lifetimes."""
    (found,) = ip(node, "address", "show", "dev", CORE_LINK)
    return {
        info[life]
        for info in found["addr_info"]
        for life in ("valid_life_time", "preferred_life_time")
    } == {0xFFFFFFFF}


DAMAGE: dict[str, list[str]] = {
    "deleted link": ["ip", "link", "delete", CORE_LINK],
    "downed link": ["ip", "link", "set", CORE_LINK, "down"],
    "changed MTU": ["ip", "link", "set", CORE_LINK, "mtu", "1300"],
    "MTU below IPv6": ["ip", "link", "set", CORE_LINK, "mtu", "576"],
    "renamed link": ["ip", "link", "set", CORE_LINK, "name", "foo"],
    "removed alias": ["ip", "link", "set", CORE_LINK, "alias", ""],
    "deleted address": ["ip", "address", "delete", f"{CORE[SPOKE]}/128", "dev", CORE_LINK],
    "added address": ["ip", "address", "add", "fd00:c0e::bad/128", "dev", CORE_LINK],
    "wider address": ["ip", "address", "add", "fd00:c0e::3/64", "dev", CORE_LINK],
    "mortal address": [
        "ip", "address", "change", f"{CORE[SPOKE]}/128", "dev", CORE_LINK,
        "preferred_lft", "100", "valid_lft", "200",
    ],
    "deleted route": ["ip", "route", "delete", CORE_PREFIX, "dev", CORE_LINK],
    "added route of ours": [
        "ip", "route", "add", "2001:db8:dead::/48", "dev", CORE_LINK, "proto", "241",
    ],
    "deleted peer": ["wg", "set", CORE_LINK, "peer", "{peer}", "remove"],
    "stolen allowed IPs": ["wg", "set", CORE_LINK, "peer", "{peer}", "allowed-ips", ""],
    "added peer": ["wg", "set", CORE_LINK, "peer", "{stranger}", "allowed-ips", "::/0"],
    "changed listen port": ["wg", "set", CORE_LINK, "listen-port", "4444"],
}  # fmt: skip


@pytest.mark.parametrize("what", [*DAMAGE, "killed wireguard-go"])
def test_drift_is_repaired(spoke: LabNode, world: World, what: str) -> None:
    assert _in_order(spoke, world)
    repaired = status(spoke)["agent"]["drift_repaired"]
    if what == "killed wireguard-go":
        assert sabotage.kill_wireguard(spoke) == 1
    else:
        names = {"{peer}": world.keys[HUB].public, "{stranger}": make_pair().public}
        spoke.run([names.get(word, word) for word in DAMAGE[what]])
    processes.wait_until(
        lambda: status(spoke)["agent"]["drift_repaired"] > repaired and _in_order(spoke, world),
        what=f"{what} to be repaired",
        seen=lambda: (kernel(spoke), spoke.agent_log()[-1500:]),
    )
    if what == "renamed link":
        assert link(spoke, "foo") is None
        assert len(sabotage.wireguard_processes(spoke)) == 1
    if what == "added route of ours":
        assert "2001:db8:dead::/48" not in routes(spoke)
    await_ping(spoke, CORE[HUB])


def test_what_is_foreign_is_never_touched(spoke: LabNode, world: World) -> None:
    foreign = [
        ["ip", "address", "add", "192.168.77.1/24", "dev", "eth0"],
        ["ip", "route", "add", "10.77.0.0/16", "dev", "eth0"],
        ["ip", "route", "add", "2001:db8:77::/48", "dev", "eth0", "proto", "241"],
        ["ip", "route", "add", "2001:db8:78::/48", "dev", CORE_LINK, "proto", "bgp"],
        ["ip", "route", "add", "2001:db8:79::/48", "dev", CORE_LINK],
        ["ip", "rule", "add", "from", "10.77.0.0/16", "table", "77", "priority", "777"],
        ["wireguard-go", "wg0"],
        ["wg", "set", "wg0", "listen-port", "4545", "peer", make_pair().public,
         "allowed-ips", "10.99.0.0/16"],
        ["ip", "link", "set", "wg0", "up"],
        ["ip", "address", "add", "10.99.0.1/24", "dev", "wg0"],
        ["ip", "link", "add", "wg-sdwan-zz", "type", "veth", "peer", "name", "veth-zz"],
        ["ip", "link", "set", "wg-sdwan-zz", "up"],
        ["ip", "address", "add", "fd00:77::1/64", "dev", "wg-sdwan-zz", "nodad"],
        ["ip", "tuntap", "add", "wg-sdwan-tt", "mode", "tun"],
    ]  # fmt: skip
    for command in foreign:
        spoke.run(command)
    try:
        before = _foreign(spoke)
        # Repairs, a new revision, its undoing, a look at everything, a restart, a purge.
        spoke.run(["ip", "link", "set", CORE_LINK, "mtu", "1300"])
        processes.wait_until(lambda: _in_order(spoke, world), what="the repair")
        assert "2001:db8:78::/48" in spoke.run(["ip", "-6", "route"]).stdout
        assert _foreign(spoke) == before
        write_state(spoke, world.with_ops(SPOKE, 2))
        await_applied(spoke, 2)
        write_state(spoke, world.state(SPOKE, 3))
        await_applied(spoke, 3)
        record = spoke.agent()
        assert record is not None
        asked_for = passes(spoke, "operator")
        processes.send_signal(record, signal.SIGHUP)
        processes.wait_until(
            lambda: passes(spoke, "operator") > asked_for, what="the pass SIGHUP asks for"
        )
        assert _foreign(spoke) == before
        spoke.stop_agent()
        start(spoke)
        await_passes(spoke, 2)
        assert _foreign(spoke) == before
        assert agent(spoke, "purge", "--yes").returncode == 0
        assert link(spoke) is None
        own = [line for line in before.splitlines() if CORE_LINK not in line]
        after = [line for line in _foreign(spoke).splitlines() if CORE_LINK not in line]
        assert after == own
    finally:
        for name in ("wg0", "wg-sdwan-zz", "wg-sdwan-tt"):
            spoke.run(["ip", "link", "delete", name], check=False)
        spoke.run(["ip", "rule", "delete", "priority", "777"], check=False)
        spoke.run(["ip", "address", "delete", "192.168.77.1/24", "dev", "eth0"], check=False)
        spoke.run(["ip", "route", "delete", "10.77.0.0/16"], check=False)
        spoke.run(["ip", "route", "delete", "2001:db8:77::/48"], check=False)
        spoke.stop_agent()


def _foreign(node: LabNode) -> str:
    """All but what is ours, as iproute2 and wg show it."""
    names = ("lo", "eth0", "wg0", "wg-sdwan-zz", "wg-sdwan-tt")
    shown = [node.run(["ip", "-d", "address", "show", "dev", name]).stdout for name in names]
    kept = []
    for family in ("-4", "-6"):
        lines = node.run(["ip", "-d", family, "route", "show", "table", "main"]).stdout.splitlines()
        kept += [line for line in lines if CORE_LINK not in line or "proto 241" not in line]
    shown += kept
    shown.append(node.run(["ip", "rule"]).stdout)
    shown.append(node.run(["wg", "show", "wg0", "dump"]).stdout)
    return "\n".join(shown)


def test_a_link_left_behind_that_cannot_be_removed_is_reported(spoke: LabNode) -> None:
    """It has our marks, and nobody to ask: it must not be passed over in silence, nor all the time."""
    spoke.run(["ip", "tuntap", "add", "wg-sdwan-old", "mode", "tun"])
    try:
        spoke.run(["ip", "link", "set", "wg-sdwan-old", "alias", "powernode-sdwan:net-old"])
        processes.wait_until(
            lambda: (
                "wg-sdwan-old" in agent(spoke, "status").stdout
                or link(spoke, "wg-sdwan-old") is None
            ),
            what="the link to be gone or reported",
            interval=0.1,
            seen=lambda: agent(spoke, "status").stdout,
        )
        if link(spoke, "wg-sdwan-old") is not None:
            assert agent(spoke, "status").returncode == 3
            assert spoke.answers(CORE[HUB])
    finally:
        spoke.run(["ip", "link", "delete", "wg-sdwan-old"], check=False)
    processes.wait_until(
        lambda: agent(spoke, "status").returncode == 0,
        what="the error to be over with its cause",
        interval=0.2,
        timeout=45,
        seen=lambda: agent(spoke, "status").stdout,
    )


# Purge, and verbs without a daemon.


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "no daemon"])
def test_purge_tears_down_and_it_stays_so(spoke: LabNode, world: World, running: bool) -> None:
    if not running:
        spoke.stop_agent()
    done = agent(spoke, "purge", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "powernode.purge/v1"
    assert any(CORE_LINK in line for line in document["removed"])
    assert link(spoke) is None
    assert not sabotage.wireguard_processes(spoke)
    assert not spoke.path(LAST_KNOWN_GOOD).exists()
    assert "nothing of ours" in agent(spoke, "purge", "--yes").stdout
    if running:
        write_state(spoke, world.state(SPOKE, 2))
        await_passes(spoke, 3)
        assert link(spoke) is None
        assert not spoke.path(LAST_KNOWN_GOOD).exists(), "nothing to build from at the next start"
        spoke.stop_agent()
    write_state(spoke, world.state(SPOKE, 1))
    start(spoke)
    await_ping(spoke, CORE[HUB])


def test_purge_asks_first(spoke: LabNode) -> None:
    done = agent(spoke, "purge")
    assert done.returncode == 2
    assert link(spoke) is not None


@pytest.mark.parametrize("verb", [["status"], ["plan"]])
def test_a_verb_says_plainly_that_there_is_no_daemon(spoke: LabNode, verb: list[str]) -> None:
    spoke.stop_agent()
    done = agent(spoke, *verb)
    assert done.returncode == 4
    assert "not running" in done.stderr, done.stderr
    assert "systemctl start powernode-agent" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = agent(spoke, *verb, "--json")
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert document["schema"] == f"powernode.{verb[0]}/v1"
    assert document["daemon"] == "away"
    assert document["error"]
    version = agent(spoke, "version", "--json")
    assert (version.returncode, json.loads(version.stdout)["daemon"]) == (0, "away")


def test_metrics_have_no_series_of_single_peers(spoke: LabNode) -> None:
    assert not any("hub-1" in name for name in metrics(spoke))
