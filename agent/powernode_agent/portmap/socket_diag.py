"""Whether the wildcard IPv6 sockets on a port take IPv6 only, asked of the kernel's sock_diag. Shell.

IPV6_V6ONLY of another process's socket stands nowhere else. Layouts: linux/inet_diag.h.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.netlink.framing import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attributes,
    message,
    messages,
)

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_SKV6ONLY: Final = 11
"""INET_DIAG_SKV6ONLY."""
_REQUEST: Final = struct.Struct("=BBBxI")
"""struct inet_diag_req_v2 up to its socket id: family, protocol, extensions, states."""
_ID: Final = struct.Struct("!HH16s16s")
"""struct inet_diag_sockid up to its interface: ports and addresses, in network order."""
_ID_REST: Final = 12
_ANSWER: Final = 72
"""Bytes of struct inet_diag_msg, after which the attributes begin."""
_STATES: Final = {
    MappingProtocol.TCP: (socket.IPPROTO_TCP, 1 << 10),
    MappingProtocol.UDP: (socket.IPPROTO_UDP, 1 << 7),
}
"""TCP that listens (TCP_LISTEN), UDP that is not connected (TCP_CLOSE)."""
_RECEIVE: Final = 1 << 16


def takes_ipv6_only(protocol: MappingProtocol, port: int) -> bool:
    """Whether each wildcard IPv6 socket on the port takes IPv6 only; False where the kernel does not
    tell, or there is none."""
    number, states = _STATES[protocol]
    body = _REQUEST.pack(socket.AF_INET6, number, 0, states)
    body += _ID.pack(port, 0, bytes(16), bytes(16)) + bytes(_ID_REST)
    told: list[bool] = []
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        ) as sock:
            sock.settimeout(2.0)
            sock.send(message(_SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, body))
            while True:
                for answer in messages(sock.recv(_RECEIVE)):
                    if answer.kind in (NLMSG_DONE, NLMSG_ERROR):
                        return bool(told) and all(told)
                    found = attributes(answer.data, answer.start + _ANSWER, answer.end)
                    source = answer.data[answer.start + 8 : answer.start + 24]
                    if not any(source):
                        told.append(found.get(_SKV6ONLY) == b"\1")
    except OSError:
        return False
