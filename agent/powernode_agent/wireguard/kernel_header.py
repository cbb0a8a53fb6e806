"""What this agent uses of include/uapi/linux/wireguard.h, and the little that both directions share.

The numbers are the kernel's user interface and stay as they are. Why the messages are packed here and
not by pyroute2: its `set()` takes one peer a message and 0.57 ms to encode it (5,000 peers: 3 s), packs
the scope of a link-local endpoint in the wrong byte order, and its import takes 13 MB of a node's
memory.
"""

from __future__ import annotations

import struct
from typing import Final

GENL_NAME: Final = "wireguard"
GENL_VERSION: Final = 1

# enum wg_cmd
WG_CMD_GET_DEVICE: Final = 0
WG_CMD_SET_DEVICE: Final = 1

# enum wgdevice_attribute
DEVICE_IFNAME: Final = 2
DEVICE_PRIVATE_KEY: Final = 3
DEVICE_LISTEN_PORT: Final = 6
DEVICE_PEERS: Final = 8

# enum wgpeer_attribute
PEER_PUBLIC_KEY: Final = 1
PEER_PRESHARED_KEY: Final = 2
PEER_FLAGS: Final = 3
PEER_ENDPOINT: Final = 4
PEER_KEEPALIVE: Final = 5
PEER_LAST_HANDSHAKE: Final = 6
PEER_RX_BYTES: Final = 7
PEER_TX_BYTES: Final = 8
PEER_ALLOWED_IPS: Final = 9

# enum wgpeer_flag
PEER_F_REMOVE_ME: Final = 1

# enum wgallowedip_attribute
ALLOWED_IP_FAMILY: Final = 1
ALLOWED_IP_ADDRESS: Final = 2
ALLOWED_IP_MASK: Final = 3

AF_INET: Final = 2
AF_INET6: Final = 10
NO_KEY: Final = bytes(32)
"""WG_KEY_LEN zero bytes: "no key", in both directions."""

GENLMSGHDR: Final = struct.Struct("=BBxx")
ATTRIBUTE: Final = struct.Struct("=HH")
U16: Final = struct.Struct("=H")
U32: Final = struct.Struct("=I")
U64: Final = struct.Struct("=Q")
TIMESPEC: Final = struct.Struct("=qq")
"""struct __kernel_timespec"""
SOCKADDR_IN: Final = struct.Struct(">H4s8x")
"""struct sockaddr_in after its family: port and address in network order."""
SOCKADDR_IN6: Final = struct.Struct(">HI16s")
"""struct sockaddr_in6 after its family, up to the scope id, which is in host order."""
