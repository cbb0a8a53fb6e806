"""Kernel settings: which ones our links need, and the port through which they are read. Pure.

What is touched, and why (Documentation/networking/ip-sysctl.rst is the source of the meanings):

On our own link, always:
- ipv6 `accept_ra=0`: a peer must not hand us a default route or addresses by a router advertisement.
- ipv4 `send_redirects=0`: "another peer is your next hop" is wrong over WireGuard.
- ipv4 `rp_filter=2` (loose): the kernel uses the larger of `all` and the link, and with 1 a packet
  from a prefix whose route arrives a moment later would be dropped.
(IPv6 redirects have no such setting; the kernel sends them from a link-local address or not at all, and
our links have none: see `difference`.)

On a node that forwards (hubs, and nodes with LANs or pods behind them):
- ipv4 `forwarding=1` on our link, and on the links that lead to its IPv4 LAN subnets: the kernel asks
  the link a packet came in by. `ip_forward` would do it for every link of the host.
- `net.ipv6.conf.all.forwarding=1`: below Linux 6.17 IPv6 has no forwarding for one link. It stops the
  host's other links from accepting router advertisements, and purges what they learned from them, so
  those that accept them now (`accept_ra=1`, `forwarding=0`) get `accept_ra=2` *before*.
- `net.ipv4.conf.all.send_redirects=0`, with an IPv4 overlay only: a link sends redirects if it or
  `all` says so. Other links keep their own value, which is 1 unless somebody wanted otherwise.

On a node of an iBGP network:
- `net.ipv4.nexthop_compat_mode=1`, which is the default: without it a route made with a nexthop object
  (zebra's are) does not say who its next hop is, and so which peer has to carry it.

None of them is ever set back: others may have come to depend on it. A value that is right already is
not written, so that a read-only /proc/sys (ProtectKernelTunables) with sysctl.d in front is fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from powernode_agent.links.errors import SysctlError

IPV6_FORWARDING: Final = "net/ipv6/conf/all/forwarding"
IPV4_ALL_REDIRECTS: Final = "net/ipv4/conf/all/send_redirects"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its path below /proc/sys (links may have dots in their names), and its value."""

    key: str
    value: str


class Sysctls(Protocol):
    """The port. Implementations raise SysctlError and nothing else."""

    def read(self, key: str) -> str | None:
        """The value without the newline; None when there is no such setting."""

    def write(self, setting: Setting) -> None:
        """Set it."""

    def ipv6_links(self) -> tuple[str, ...]:
        """Names of the links that have IPv6 settings; neither `all` nor `default`."""


def link_settings(link: str, *, forwards: bool, ibgp: bool = False) -> tuple[Setting, ...]:
    """What our own link needs, in order."""
    settings: tuple[Setting, ...] = (
        Setting(f"net/ipv6/conf/{link}/accept_ra", "0"),
        Setting(f"net/ipv4/conf/{link}/send_redirects", "0"),
        Setting(f"net/ipv4/conf/{link}/rp_filter", "2"),
    )
    if forwards:
        settings += (Setting(f"net/ipv4/conf/{link}/forwarding", "1"),)
    if ibgp:
        settings += (Setting("net/ipv4/nexthop_compat_mode", "1"),)
    return settings


def current(key: str, sysctls: Sysctls) -> str | None:
    """What a setting is, for a plan; None: absent or unreadable. Nothing is lost by not raising here:
    such a setting differs, and carrying out the plan raises what reading it raised."""
    try:
        return sysctls.read(key)
    except SysctlError:
        return None


def differing(settings: tuple[Setting, ...], sysctls: Sysctls) -> tuple[Setting, ...]:
    """Those of `settings` that are not so yet, in the same order."""
    return tuple(s for s in settings if current(s.key, sysctls) != s.value)


def host_settings(
    sysctls: Sysctls, *, lan_links: frozenset[str], ipv4_overlay: bool, our_links: frozenset[str]
) -> tuple[Setting, ...]:
    """What a forwarding host still needs beyond our links, in the order in which it must happen."""
    wanted: list[Setting] = []
    if current(IPV6_FORWARDING, sysctls) != "1":
        for link in sysctls.ipv6_links():
            if link == "lo" or link in our_links:
                continue
            accepts = current(f"net/ipv6/conf/{link}/accept_ra", sysctls) == "1"
            if accepts and current(f"net/ipv6/conf/{link}/forwarding", sysctls) == "0":
                wanted.append(Setting(f"net/ipv6/conf/{link}/accept_ra", "2"))
        wanted.append(Setting(IPV6_FORWARDING, "1"))
    ipv4 = [Setting(f"net/ipv4/conf/{link}/forwarding", "1") for link in sorted(lan_links)]
    if ipv4_overlay:
        ipv4.append(Setting(IPV4_ALL_REDIRECTS, "0"))
    return (*wanted, *differing(tuple(ipv4), sysctls))
