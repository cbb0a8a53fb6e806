"""The local listeners, out of /proc/net. Shell.

Not over sock_diag, which would filter in the kernel: its UDP half is a module that not every kernel
has. A table of TCP begins with what listens, so reading ends at the first line that does not; that of
UDP is as long as there are sockets. Only whether a wildcard IPv6 socket takes IPv4 too does not stand
there, and is asked of sock_diag for those few; where it cannot tell, it is taken that it does.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.model.values import Address
from powernode_agent.portmap.clashes import Listener
from powernode_agent.portmap.errors import PortMapError
from powernode_agent.portmap.socket_diag import takes_ipv6_only

NETWORK: Final = Path("/proc/thread-self/net")
"""Of the calling thread's network namespace; /proc/net is that of the whole process."""
_LISTEN: Final = "0A"
_UNCONNECTED: Final = "07"
_ANY: Final = IPv6Address("::")


def read_listeners(
    ports: Collection[tuple[MappingProtocol, int]], tables: Path = NETWORK
) -> frozenset[Listener]:
    """The listeners on any of these ports. Raises `PortMapError`."""
    if not ports:
        return frozenset()
    wanted = frozenset(ports)
    found: set[Listener] = set()
    for protocol, state in ((MappingProtocol.TCP, _LISTEN), (MappingProtocol.UDP, _UNCONNECTED)):
        for name in (protocol.value, f"{protocol.value}6"):
            for address, port in _sockets(tables / name, state):
                if (protocol, port) in wanted:
                    # Several sockets may share a port: one that takes IPv4 too is enough.
                    ipv6_only = address == _ANY and takes_ipv6_only(protocol, port)
                    found.add(Listener(protocol, address, port, ipv6_only))
    return frozenset(found)


def _sockets(table: Path, state: str) -> Iterator[tuple[Address, int]]:
    try:
        with table.open() as lines:
            next(lines, None)
            for line in lines:
                # sl, local address, remote address, state (Documentation/networking/proc_net_tcp.rst)
                fields = line.split(None, 4)
                if fields[3] == state:
                    address, port = fields[1].split(":")
                    yield _address(address), int(port, 16)
                elif state == _LISTEN:
                    return
    except FileNotFoundError:
        return  # a kernel without IPv6
    except (OSError, ValueError, IndexError) as error:
        raise PortMapError(
            "cannot read which ports services of this host have",
            which=str(table),
            value=str(error),
            action="check that /proc is mounted; until then mappings stay as they are",
        ) from error


def _address(text: str) -> Address:
    """Words of 32 bits in the host's order."""
    words = (text[start : start + 8] for start in range(0, len(text), 8))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    if len(packed) == 4:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address
