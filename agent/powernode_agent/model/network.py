"""Networks, this node's interface on them, peers and paths: one class for each resource.

Each class checks its own fields when it is made and raises `ModelError` with every violation found;
what concerns several resources at once is `desired_state`'s. All values are parsed types already:
text is parsed in `wire`, with the same violations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from powernode_agent.model.checks import (
    check_id,
    check_name,
    check_routable,
    is_routable,
    raise_if,
)
from powernode_agent.model.firewall import ACCEPT_ALL, FirewallPolicy
from powernode_agent.model.remote_network import RemoteNetwork
from powernode_agent.model.values import (
    HANDLE_PATTERN,
    Endpoint,
    NetworkId,
    PathId,
    PeerId,
    Prefix,
    PresharedKey,
    PrivateKey,
    PublicKey,
    link_alias,
    link_name,
)
from powernode_agent.model.violation import HIDDEN, Violation, violation

MIN_MTU: Final = 1280
"""IPv6 does not run below (RFC 8200, section 5)."""
MAX_MTU: Final = 9000


class RoutingMode(Enum):
    STATIC = "static"
    IBGP = "ibgp"


class PeerRole(Enum):
    HUB = "hub"
    SPOKE = "spoke"


class PeerKind(Enum):
    NODE = "node"
    USER_DEVICE = "user_device"
    FEDERATION = "federation"


class PathPurpose(Enum):
    OVERLAY = "overlay"
    LAN = "lan"
    VIRTUAL_IP = "virtual_ip"
    POD_SUBNET = "pod_subnet"
    FEDERATION = "federation"


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """The platform made the private key and delivers it."""

    private_key: PrivateKey


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The node makes its keys; `next_generation` is made and reported, but not used yet."""

    generation: int
    next_generation: int | None = None


KeySource = PlatformKey | NodeKey


@dataclass(frozen=True, slots=True)
class Interface:
    """This node's own place on a network. `mtu` in bytes; None: derived from the underlay."""

    peer_id: PeerId
    address: IPv6Address
    role: PeerRole
    listen_port: int
    key: KeySource
    overlay_ipv4: IPv4Address | None = None
    mtu: int | None = None
    lan_subnets: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = f"interface of peer {self.peer_id}"
        check_id(found, which, "peer_id", self.peer_id)
        if not 1 <= self.listen_port <= 65535:
            found.append(violation(which, "listen_port", self.listen_port, "1 to 65535"))
        if self.mtu is not None and not MIN_MTU <= self.mtu <= MAX_MTU:
            found.append(violation(which, "mtu", self.mtu, f"{MIN_MTU} to {MAX_MTU}, or 0"))
        for prefix in self.lan_subnets:
            check_routable(found, which, "lan_subnets", prefix)
        if isinstance(self.key, NodeKey):
            if self.key.generation < 1:
                found.append(violation(which, "key_generation", self.key.generation, "1 or more"))
            following = self.key.next_generation
            if following is not None and following <= self.key.generation:
                found.append(
                    violation(
                        which,
                        "next_key_generation",
                        following,
                        f"more than key_generation {self.key.generation}",
                    )
                )
        raise_if(found)

    @property
    def forwards(self) -> bool:
        """Whether the node passes on packets that are not its own: hubs, and LANs behind it."""
        return self.role is PeerRole.HUB or bool(self.lan_subnets)


@dataclass(frozen=True, slots=True)
class Network:
    """One overlay as seen from this node."""

    id: NetworkId
    name: str
    handle: str
    prefix: IPv6Network
    routing_mode: RoutingMode
    interface: Interface
    overlay_ipv4_prefix: IPv4Network | None = None
    pod_subnet_prefix: Prefix | None = None
    firewall_policy: FirewallPolicy = ACCEPT_ALL

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_name(found, which, self.name)
        if not HANDLE_PATTERN.fullmatch(self.handle):
            found.append(
                violation(which, "handle", self.handle, "1 to 6 characters of a-z, 0-9 and -")
            )
        if self.prefix.prefixlen != 64:
            found.append(violation(which, "prefix", self.prefix, "an IPv6 /64"))
        check_routable(found, which, "prefix", self.prefix)
        if self.overlay_ipv4_prefix is not None:
            check_routable(found, which, "overlay_ipv4_prefix", self.overlay_ipv4_prefix)
        if self.pod_subnet_prefix is not None:
            check_routable(found, which, "pod_subnet_prefix", self.pod_subnet_prefix)
        own = self.interface
        if own.address not in self.prefix:
            found.append(
                violation(which, "interface.address", own.address, f"inside {self.prefix}")
            )
        if own.overlay_ipv4 is not None and (
            self.overlay_ipv4_prefix is None or own.overlay_ipv4 not in self.overlay_ipv4_prefix
        ):
            found.append(
                violation(
                    which,
                    "interface.overlay_ipv4",
                    own.overlay_ipv4,
                    f"inside overlay_ipv4_prefix {self.overlay_ipv4_prefix or '(none given)'}",
                )
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"network {self.name} ({self.id})"

    @property
    def link(self) -> str:
        """Name of its link."""
        return link_name(self.handle)

    @property
    def alias(self) -> str:
        """Alias of its link."""
        return link_alias(self.id)


@dataclass(frozen=True, slots=True)
class Peer:
    """One WireGuard peer of this node. `keepalive` in seconds, 0: none. `remote` is what a peer of kind
    federation stands for, None for every other."""

    id: PeerId
    network_id: NetworkId
    name: str
    kind: PeerKind
    role: PeerRole
    host_address: IPv6Address
    public_key: PublicKey | None = None
    next_public_key: PublicKey | None = None
    preshared_key: PresharedKey | None = None
    host_ipv4: IPv4Address | None = None
    endpoint: Endpoint | None = None
    keepalive: int = 0
    permitted_prefixes: tuple[Prefix, ...] = ()
    remote: RemoteNetwork | None = None

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        check_name(found, which, self.name)
        if (self.kind is PeerKind.FEDERATION) is (self.remote is None):
            expected = "given for a peer of kind federation, and for no other"
            given = "(none)" if self.remote is None else self.remote.network_id
            found.append(violation(which, "remote_network_id", given, expected))
        if not 0 <= self.keepalive <= 65535:
            found.append(
                violation(which, "persistent_keepalive_seconds", self.keepalive, "0 to 65535")
            )
        if self.endpoint is not None:
            _check_endpoint(found, which, self.endpoint)
        if self.next_public_key is not None and self.next_public_key == self.public_key:
            found.append(violation(which, "next_public_key", HIDDEN, "not the present key"))
        for prefix in self.permitted_prefixes:
            check_routable(found, which, "permitted_prefixes", prefix)
        raise_if(found)

    def __str__(self) -> str:
        return f"peer {self.name} ({self.id})"

    @property
    def host_prefixes(self) -> tuple[Prefix, ...]:
        """Its own addresses as prefixes: always carried by the peer itself."""
        own: tuple[Prefix, ...] = (IPv6Network((int(self.host_address), 128)),)
        if self.host_ipv4 is not None:
            own += (IPv4Network((int(self.host_ipv4), 32)),)
        return own

    def may_carry(self, prefix: Prefix) -> bool:
        """Whether `prefix` is one of its own addresses or inside a permitted prefix."""
        if prefix in self.host_prefixes:
            return True
        return any(_covers(permitted, prefix) for permitted in self.permitted_prefixes)


@dataclass(frozen=True, slots=True)
class Path:
    """The peers that may carry `prefix`, best first; the order is the platform's decision."""

    id: PathId
    network_id: NetworkId
    prefix: Prefix
    purpose: PathPurpose
    candidates: tuple[PeerId, ...]

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        check_routable(found, which, "prefix", self.prefix)
        if not self.candidates:
            found.append(violation(which, "candidates", "(none)", "at least one peer"))
        if len(set(self.candidates)) != len(self.candidates):
            found.append(
                violation(which, "candidates", ", ".join(self.candidates), "no peer twice")
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"path {self.prefix} ({self.id})"


def _covers(outer: Prefix, inner: Prefix) -> bool:
    if isinstance(outer, IPv6Network):
        return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv4Network) and inner.subnet_of(outer)


def _check_endpoint(found: list[Violation], which: str, endpoint: Endpoint) -> None:
    if not 1 <= endpoint.port <= 65535:
        found.append(violation(which, "endpoint", endpoint, "a port from 1 to 65535"))
    if not is_routable(ip_network(endpoint.address)):
        # A link-local endpoint would need a scope, which the contract has no room for.
        found.append(
            violation(
                which,
                "endpoint",
                endpoint,
                "a unicast address that packets can be sent to (not loopback, link-local, multicast, "
                "reserved or IPv4-mapped)",
            )
        )
