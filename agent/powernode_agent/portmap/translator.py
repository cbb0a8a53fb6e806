"""Where the NAT64 stands and what it is told: one configuration, the same for ever. Pure.

tayga translates between the one IPv4 address `INSIDE_IPV4` and the one IPv6 address `INSIDE_IPV6`, and
puts IPv4 clients into `CLIENTS`. Which port leads where is nftables' business, on both sides of it, so
that a changed mapping never restarts it and no flow but its own notices.

The IPv4 addresses are of RFC 7335 (192.0.0.0/29: local to a host that translates), and are used as two
host routes, not as the whole prefix. The IPv6 ones would be of RFC 8215 (64:ff9b:1::/48), which
tayga 0.9.2 refuses ("Cannot use reserved address"); the well-known 64:ff9b::/96 translates no private
IPv4 client and is often in use for the host's own way to IPv4. So they are of a unique local prefix
made by RFC 4193's lot.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from powernode_agent.model.values import Prefix

LINK: Final = "pn-nat64"
INSIDE_IPV4: Final = IPv4Address("192.0.0.6")
INSIDE_IPV6: Final = IPv6Address("fdc2:d5cd:4cb6::6")
CLIENTS: Final = IPv6Network("fdc2:d5cd:4cb6:ffff::/96")
_OWN_IPV4: Final = IPv4Address("192.0.0.5")
"""tayga's own, for the ICMP errors that it sends."""

ROUTES: Final[frozenset[Prefix]] = frozenset(
    {IPv4Network(INSIDE_IPV4), IPv4Network(_OWN_IPV4), CLIENTS}
)
"""What leads to it. `_OWN_IPV4` too: a host with strict rp_filter would drop its ICMP errors."""
SETTINGS: Final = (f"net/ipv4/conf/{LINK}/forwarding",)
"""What must be 1, below /proc/sys, for what comes out of it. IPv6 forwarding is on on every hub."""

CONFIGURATION: Final = f"""\
tun-device {LINK}
ipv4-addr {_OWN_IPV4}
prefix {CLIENTS}
map {INSIDE_IPV4} {INSIDE_IPV6}
"""
FILE_NAME: Final = f"nat64-{sha256(CONFIGURATION.encode()).hexdigest()[:12]}.conf"
"""Names the content, so that the command line of a running tayga says what it was told."""
FILE_PREFIX: Final = "nat64-"
