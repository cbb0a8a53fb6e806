"""Listeners out of /proc/net: made-up tables, and this machine's own."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.portmap.clashes import Listener
from powernode_agent.portmap.errors import PortMapError
from powernode_agent.portmap.listeners import read_listeners

TCP, UDP = MappingProtocol.TCP, MappingProtocol.UDP
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"
little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="tables are host order")


def line(local: str, state: str) -> str:
    return f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 1\n"


@little_endian
def test_what_listens_on_wanted_ports_is_found_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(
        HEAD
        + line("057100CB:01BB", "0A")
        + line("00000000:0016", "0A")
        + line("057100CB:01BB", "01")
        + "whatever follows is not read\n"
    )
    (tmp_path / "tcp6").write_text(
        HEAD
        + line("B80D0120000000000000000005000000:01BB", "0A")
        + line("0000000000000000FFFF0000057100CB:01BB", "0A")
    )
    (tmp_path / "udp").write_text(
        HEAD
        + line("00000000:01BB", "07")
        + line("057100CB:01BB", "01")
        + line("00000000:01BB", "07")
    )
    assert read_listeners({(TCP, 443), (UDP, 443)}, tmp_path) == {
        Listener(TCP, ip_address("203.0.113.5"), 443),
        Listener(TCP, ip_address("2001:db8::5"), 443),
        Listener(UDP, ip_address("0.0.0.0"), 443),  # noqa: S104
    }


def test_a_table_that_makes_no_sense_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(HEAD + "0: zz:zz 0:0 0A\n")
    with pytest.raises(PortMapError, match="cannot read which ports"):
        read_listeners({(TCP, 443)}, tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_sockets_of_this_machine_are_found_while_they_listen(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_STREAM) as tcp,
        socket.socket(family, socket.SOCK_DGRAM) as udp,
    ):
        for sock in (tcp, udp):
            sock.bind((address, 0))
        wanted = {(TCP, tcp.getsockname()[1]), (UDP, udp.getsockname()[1])}
        taken = {Listener(UDP, ip_address(address), udp.getsockname()[1])}
        assert read_listeners(wanted) == taken, "bound TCP is nobody's yet"
        tcp.listen()
        taken.add(Listener(TCP, ip_address(address), tcp.getsockname()[1]))
        assert read_listeners(wanted) == taken
    assert read_listeners(wanted) == set()


@pytest.mark.parametrize("only", [True, False])
def test_a_wildcard_ipv6_socket_is_known_by_what_it_asked_for(only: bool) -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
    ):
        for sock in (tcp, udp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            sock.bind(("::", 0))
        tcp.listen()
        ports = {TCP: tcp.getsockname()[1], UDP: udp.getsockname()[1]}
        for protocol, port in ports.items():
            wanted = Listener(protocol, ip_address("::"), port, ipv6_only=only)
            assert read_listeners({(protocol, port)}) == {wanted}


def test_without_mappings_nothing_is_read(tmp_path: Path) -> None:
    assert read_listeners((), tmp_path / "not-there") == frozenset()
