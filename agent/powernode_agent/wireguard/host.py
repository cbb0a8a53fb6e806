"""What the host says about a link, a port or itself, asked of the kernel directly.

Small readers, for use as ports: they look from the network namespace of the calling thread, and need
no privilege.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from typing import Final

SIOCETHTOOL: Final = 0x8946
"""linux/sockios.h"""
ETHTOOL_GDRVINFO: Final = 0x3
"""linux/ethtool.h; struct ethtool_drvinfo is 196 bytes, the driver's name the first 32 of them
after the command."""


def link_driver(link: str) -> str | None:
    """Name of the driver of a link: "tun", "wireguard", "veth"; None: no such link.

    Empty where the driver does not say.
    """
    answer = array.array("B", struct.pack("I192x", ETHTOOL_GDRVINFO))
    address, _ = answer.buffer_info()
    request = struct.pack("16sP16x", link.encode("ascii"), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        try:
            fcntl.ioctl(control, SIOCETHTOOL, request)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return ""
            if error.errno == errno.ENODEV:
                return None
            raise
    return answer.tobytes()[4:36].split(b"\0", 1)[0].decode("ascii", "replace")


def udp_port_taken(port: int) -> bool:
    """Whether a wildcard bind of this UDP port fails, by IPv4 or IPv6.

    The kernel's WireGuard binds when its link is brought up, which is another room's step and would
    be another room's error; so we ask before we write the port.
    """
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            probe = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                continue
            raise
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
                # A port below 1024 that we may not bind (EACCES), a family that is turned off: that
                # says nothing of others having it, and WireGuard's own error will say what is wrong.
    return False
