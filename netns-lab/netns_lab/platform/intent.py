"""What an operator wants of one network, as plain frozen values.

The compiler works on these and on nothing else: no database row, no clock. Equal intent compiles to
equal desired state, which is what makes "nothing changed, nothing is sent" hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.federation_intent import FederationIntent
from netns_lab.platform.filter_intent import NO_FILTER, FilterIntent
from netns_lab.platform.pod_intent import PodNode
from netns_lab.platform.policy_intent import RoutePolicyIntent
from netns_lab.platform.routing_intent import DEFAULT_AS_NUMBER, NO_ROUTING, PeerRouting
from netns_lab.platform.virtual_ip_intent import VirtualIpIntent


class Topology(Enum):
    """Who talks to whom directly.

    HUB_SPOKE: spokes to hubs, hubs to everyone. FULL_MESH: besides that, any two peers of which one
    has a known endpoint; two without one still meet at a hub.
    """

    HUB_SPOKE = "hub_spoke"
    FULL_MESH = "full_mesh"


class RoutingMode(Enum):
    """How routes come to be. STATIC: the platform's paths. IBGP: FRR's best paths."""

    STATIC = "static"
    IBGP = "ibgp"


class Role(Enum):
    """HUB: publicly reachable, forwards between the others. SPOKE: everyone else."""

    HUB = "hub"
    SPOKE = "spoke"


class Standing(Enum):
    """What evidence makes of a node that, by its address, could be a hub (`trials`).

    UNTRIED: a spoke still. PRESUMED: a hub, because nobody is there to try it. CONFIRMED: a hub, a peer
    that it could not have called has reached it. REFUTED: a spoke, nobody gets through to it.
    """

    UNTRIED = "untried"
    PRESUMED = "presumed"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"


class KeySource(Enum):
    """Who makes the private key: the platform, which delivers it, or the node, which keeps it."""

    PLATFORM = "platform"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one peer as they stand in a rotation, if any.

    `public` and `next_public` are what the others know; empty: none, or not reported yet. `private`
    is what the node itself uses (platform source only). `generation` is the key the node uses,
    `next_generation` one it has to make and report, 0: none.
    """

    source: KeySource
    public: str
    next_public: str
    private: str
    generation: int
    next_generation: int

    def __repr__(self) -> str:
        """Without the private key: intents end up in assertion messages and logs."""
        return f"Keys({self.source.value}, public={self.public!r}, next={self.next_public!r})"


@dataclass(frozen=True, slots=True)
class PeerIntent:
    """One node on one network. `endpoint` empty: others cannot start a conversation with it.

    `standing` None: no candidate for a hub, or the operator has spoken. `tried_at` is the endpoint at
    which `witnesses` (peer ids) try a candidate, `candidate_since` in seconds since the epoch.
    `can_witness`: nobody is ever told where it is, so a handshake with it was its own doing.
    """

    id: str
    node_id: str
    name: str
    role: Role
    host_address: str
    host_ipv4: str
    listen_port: int
    keys: Keys
    endpoint: str
    publicly_reachable: bool
    lan_subnets: tuple[str, ...]
    standing: Standing | None = None
    candidate_since: float = 0.0
    tried_at: str = ""
    witnesses: tuple[str, ...] = ()
    can_witness: bool = False
    routing: PeerRouting = NO_ROUTING


@dataclass(frozen=True, slots=True)
class NetworkIntent:
    """One network and its peers. `hub_order` holds the ids of all hubs, the one in use first."""

    id: str
    name: str
    handle: str
    prefix: str
    overlay_ipv4_prefix: str
    pod_subnet_prefix: str
    topology: Topology
    peers: tuple[PeerIntent, ...]
    hub_order: tuple[str, ...]
    filter: FilterIntent = NO_FILTER
    routing_mode: RoutingMode = RoutingMode.STATIC
    as_number: int = DEFAULT_AS_NUMBER
    virtual_ips: tuple[VirtualIpIntent, ...] = ()
    policies: tuple[RoutePolicyIntent, ...] = ()
    devices: tuple[DeviceIntent, ...] = ()
    pods: tuple[PodNode, ...] = ()
    federations: tuple[FederationIntent, ...] = ()
