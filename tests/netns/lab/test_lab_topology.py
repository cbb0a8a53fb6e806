"""The internet of the lab is what it says: who reaches whom, and through what."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from netns_lab import sabotage
from netns_lab.errors import CommandError, LabError
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, reference_topology

LabFactory = Callable[[Topology], Lab]


@pytest.fixture(scope="module")
def internet(module_lab: LabFactory) -> Lab:
    return module_lab(reference_topology())


class UdpEcho:
    """Answers every datagram with the source it was seen to come from, as "address port"."""

    def __init__(self, node: LabNode, port: int) -> None:
        self._socket = node.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind((str(node.ipv4), port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> UdpEcho:
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked recvfrom is woken by shutdown, also on a socket that is not connected, although
        # shutdown then complains.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, source = self._socket.recvfrom(2048)
            if not data:
                return  # shut down: nobody sends us an empty datagram
            self._socket.sendto(f"{source[0]} {source[1]}".encode(), source)


def ask(asker: socket.socket, target: tuple[str, int]) -> tuple[str, int] | None:
    """The source that an echo server saw; None when no answer comes."""
    asker.sendto(b"who am I", target)
    try:
        address, port = asker.recv(2048).decode().split()
    except TimeoutError:
        return None
    return address, int(port)


def udp_socket(node: LabNode, port: int, timeout: float) -> socket.socket:
    made = node.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind((str(node.ipv4), port))
    made.settimeout(timeout)
    return made


@pytest.mark.parametrize("spoke", ["spoke-nat", "spoke-fw", "spoke-open"])
@pytest.mark.parametrize("hub", ["hub-1", "hub-2"])
def test_every_spoke_reaches_every_hub(internet: Lab, spoke: str, hub: str) -> None:
    assert internet.node(spoke).answers(str(internet.node(hub).ipv4))


@pytest.mark.parametrize("node", ["hub-2", "spoke-fw", "spoke-open", "platform"])
def test_dual_stack_outside_nat(internet: Lab, node: str) -> None:
    target = internet.node("hub-1").ipv6
    assert target is not None
    assert internet.node(node).answers(str(target))


def test_nat_hides_the_address_and_translates_the_port(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-nat")
    with UdpEcho(hub, 5000), udp_socket(spoke, 51820, 5.0) as asker:
        seen = ask(asker, (str(hub.ipv4), 5000))
        assert seen is not None
        assert seen[0] == str(internet.node("nat").ipv4)
        assert seen[1] != 51820
        assert ask(asker, (str(hub.ipv4), 5000)) == seen, "an established flow keeps its port"


def test_nat_rebinding_gives_the_flow_another_port(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-nat")
    with UdpEcho(hub, 5000), udp_socket(spoke, 51821, 5.0) as asker:
        before = ask(asker, (str(hub.ipv4), 5000))
        sabotage.rebind_nat(spoke)
        after = ask(asker, (str(hub.ipv4), 5000))
    assert before is not None
    assert after is not None
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_rebinding_needs_a_nat(internet: Lab) -> None:
    with pytest.raises(LabError, match="not behind NAT"):
        sabotage.rebind_nat(internet.node("spoke-open"))


def test_hub_cannot_reach_into_nat(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-nat")
    assert not hub.answers(str(spoke.ipv4), timeout=0.3)
    # Nor does the NAT's public address lead in: nothing behind it hears an unasked datagram.
    with UdpEcho(spoke, 51820), udp_socket(hub, 6000, 0.3) as asker:
        assert ask(asker, (str(internet.node("nat").ipv4), 51820)) is None


def test_firewall_drops_what_was_not_asked_for_and_passes_replies(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-fw")
    with UdpEcho(spoke, 51820), udp_socket(hub, 6001, 0.3) as asker:
        assert ask(asker, (str(spoke.ipv4), 51820)) is None
    with UdpEcho(hub, 5000), udp_socket(spoke, 51822, 5.0) as asker:
        assert ask(asker, (str(hub.ipv4), 5000)) == (str(spoke.ipv4), 51822), "no translation"


def test_open_spoke_hears_what_it_did_not_ask_for(internet: Lab) -> None:
    """The control of the firewall's test: the same question, without a firewall, is answered."""
    hub, spoke = internet.node("hub-1"), internet.node("spoke-open")
    with UdpEcho(spoke, 51820), udp_socket(hub, 6001, 5.0) as asker:
        assert ask(asker, (str(spoke.ipv4), 51820)) == (str(hub.ipv4), 6001)


def test_a_cut_is_between_two_nodes_only(internet: Lab) -> None:
    hub_1, hub_2 = internet.node("hub-1"), internet.node("hub-2")
    spoke, other = internet.node("spoke-open"), internet.node("spoke-fw")
    with sabotage.severed(spoke, hub_1):
        assert not spoke.answers(str(hub_1.ipv4), timeout=0.3)
        assert not hub_1.answers(str(spoke.ipv4), timeout=0.3)
        assert not spoke.answers(str(hub_1.ipv6), timeout=0.3)
        assert spoke.answers(str(hub_2.ipv4))
        assert other.answers(str(hub_1.ipv4))
    assert spoke.answers(str(hub_1.ipv4))
    assert spoke.answers(str(hub_1.ipv6))


def test_healing_what_was_not_cut_is_an_error(internet: Lab) -> None:
    with pytest.raises(CommandError):
        sabotage.heal(internet.node("spoke-open"), internet.node("hub-2"))


def test_isolated_node_behind_nat(internet: Lab) -> None:
    spoke, hub = internet.node("spoke-nat"), internet.node("hub-1")
    sabotage.isolate(spoke)
    assert not spoke.answers(str(hub.ipv4), timeout=0.3)
    sabotage.rejoin(spoke)
    assert spoke.answers(str(hub.ipv4))


@pytest.mark.parametrize("name", ["hub-1", "spoke-fw", "firewall", "spoke-nat"])
def test_unplugged_and_plugged_again(internet: Lab, name: str) -> None:
    node, hub = internet.node(name), internet.node("hub-2")
    sabotage.unplug(node)
    assert "NO-CARRIER" in node.run(["ip", "link", "show", "dev", "eth0"]).stdout
    assert not node.answers(str(hub.ipv4), timeout=0.3)
    sabotage.plug(node)
    assert node.answers(str(hub.ipv4))
    if node.ipv6 is not None:
        assert node.answers(str(hub.ipv6))
    if name == "firewall":
        behind = internet.node("spoke-fw")
        assert behind.answers(str(hub.ipv4))
        assert behind.answers(str(hub.ipv6))


def test_each_node_has_files_of_its_own(internet: Lab) -> None:
    one, other = internet.node("hub-1"), internet.node("hub-2")
    for directory in ("/etc/powernode-agent", "/var/lib/powernode-agent", "/run/powernode-agent"):
        one.write_file(f"{directory}/mark", "one\n")
        assert one.run(["cat", f"{directory}/mark"]).stdout == "one\n"
        assert other.run(["cat", f"{directory}/mark"], check=False).returncode != 0
    one.run(["touch", "/run/wireguard/from-inside", "/var/run/frr/from-inside"])
    assert one.path("/run/wireguard/from-inside").exists()
    assert one.path("/run/frr/from-inside").exists()
    assert not other.path("/run/wireguard/from-inside").exists()


def test_a_secret_file_is_the_owners_only(internet: Lab) -> None:
    node = internet.node("hub-1")
    node.write_file("/etc/powernode-agent/secret", "x\n", mode=0o600)
    assert node.run(["stat", "-c", "%a %U", "/etc/powernode-agent/secret"]).stdout == "600 root\n"


def test_a_shared_path_is_not_taken_for_a_private_one(internet: Lab) -> None:
    with pytest.raises(LabError, match="not private"):
        internet.node("hub-1").write_file("/etc/passwd", "")


def test_sysfs_shows_the_nodes_own_devices(internet: Lab) -> None:
    assert internet.node("hub-1").run(["ls", "/sys/class/net"]).stdout.split() == ["eth0", "lo"]


def test_attaching_gives_the_same_lab(internet: Lab) -> None:
    attached = Lab.attach(internet.name)
    assert attached.topology == internet.topology
    assert attached.node("spoke-open").answers(str(attached.node("hub-1").ipv4))
