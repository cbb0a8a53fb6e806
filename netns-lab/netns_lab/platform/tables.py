"""The platform's tables. Everything an action changes is here; what nodes report lives in memory and is
written down only as the latest report of each node, for evidence.

Times are seconds since the epoch. Private keys of peers with `key_source: platform` are in the
database, as in the runbook's Sdwan::PeerKey; the file is 0600 in a directory that is 0700.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """Base that SQLAlchemy asks for."""


class Account(Table):
    """An account; `ula_pool` is the /48 its networks are allocated from (RFC 4193). `as_number` is that
    of its iBGP networks, None: nobody has said, and they run with the default."""

    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    ula_pool: Mapped[str]
    as_number: Mapped[int | None] = mapped_column(default=None)


class NodeInstance(Table):
    """A node that may enrol. `router_number` makes its router id, unique in the account; 0: it was on
    no network yet."""

    __tablename__ = "node_instances"
    __table_args__ = (UniqueConstraint("account_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    created_at: Mapped[float]
    router_number: Mapped[int] = mapped_column(default=0)


class Token(Table):
    """A one-time enrolment token, by its SHA-256: a stolen database enrols nobody."""

    __tablename__ = "tokens"
    digest: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"))
    expires_at: Mapped[float]
    used_at: Mapped[float | None]


class Certificate(Table):
    """A client certificate that was issued."""

    __tablename__ = "certificates"
    serial: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"))
    not_before: Mapped[float]
    not_after: Mapped[float]


class Network(Table):
    """Sdwan::Network. Empty prefixes: none. `current_hub_id`: the hub in use, empty: the first."""

    __tablename__ = "networks"
    __table_args__ = (
        UniqueConstraint("account_id", "name"),
        UniqueConstraint("account_id", "handle"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    description: Mapped[str]
    handle: Mapped[str]
    prefix: Mapped[str]
    overlay_ipv4_prefix: Mapped[str]
    pod_subnet_prefix: Mapped[str]
    routing_mode: Mapped[str]
    topology: Mapped[str]
    current_hub_id: Mapped[str]
    created_at: Mapped[float]
    account: Mapped[Account] = relationship()
    peers: Mapped[list[Peer]] = relationship(
        back_populates="network", cascade="all, delete-orphan", order_by="Peer.ordinal"
    )
    virtual_ips: Mapped[list[VirtualIp]] = relationship(cascade="all, delete-orphan")


class Peer(Table):
    """Sdwan::Peer: a NodeInstance on a network.

    `wanted_*` is what the operator said, None: nothing. `detected_*` is what the node's reports say,
    None: nothing yet; `detected_at` is when that changed last. `standing` is what evidence made of a
    node that was detected as public (`trials`), `standing_because` the sentence for it, and `witnesses`
    the peers that try it now, by id, separated by spaces. `active_generation` is the key the others
    know, `next_generation` the one they are told of (0: none), `node_generation` the one the node uses.
    """

    __tablename__ = "peers"
    __table_args__ = (
        UniqueConstraint("network_id", "node_id"),
        UniqueConstraint("network_id", "host_address"),
        UniqueConstraint("node_id", "listen_port"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"), index=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), index=True)
    ordinal: Mapped[int]
    host_address: Mapped[str]
    host_ipv4: Mapped[str]
    listen_port: Mapped[int]
    key_source: Mapped[str]
    wanted_public: Mapped[bool | None]
    wanted_endpoint: Mapped[str]
    detected_public: Mapped[bool | None]
    detected_endpoint: Mapped[str]
    detected_at: Mapped[float]
    standing: Mapped[str]
    standing_because: Mapped[str]
    witnesses: Mapped[str]
    active_generation: Mapped[int]
    next_generation: Mapped[int]
    node_generation: Mapped[int]
    created_at: Mapped[float]
    network: Mapped[Network] = relationship(back_populates="peers")
    node: Mapped[NodeInstance] = relationship()
    keys: Mapped[list[PeerKey]] = relationship(cascade="all, delete-orphan", lazy="selectin")
    lan_subnets: Mapped[list[LanSubnet]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="LanSubnet.prefix"
    )
    rotations: Mapped[list[Rotation]] = relationship(
        back_populates="peer", cascade="all, delete-orphan"
    )


class PeerKey(Table):
    """Sdwan::PeerKey. `public_key` empty: the node has not reported it; `private_key` empty: node's."""

    __tablename__ = "peer_keys"
    peer_id: Mapped[str] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    public_key: Mapped[str]
    private_key: Mapped[str]
    created_at: Mapped[float]


class LanSubnet(Table):
    """A LAN behind a peer."""

    __tablename__ = "lan_subnets"
    peer_id: Mapped[str] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    prefix: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]


class VirtualIp(Table):
    """Sdwan::VirtualIp: an address that no peer may get and no pod subnet may cover. `preference` is
    the highest local preference that any holder was given, one below BGP's default before the first.
    """

    __tablename__ = "virtual_ips"
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"), index=True)
    name: Mapped[str]
    address: Mapped[str]
    anycast: Mapped[bool] = mapped_column(default=False)
    preference: Mapped[int] = mapped_column(default=99)
    created_at: Mapped[float] = mapped_column(default=0.0)


class FirewallPolicyRow(Table):
    """What a network does with packets that no rule matches. No row: accepts them."""

    __tablename__ = "firewall_policies"
    network_id: Mapped[str] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), primary_key=True
    )
    ingress: Mapped[str]
    egress: Mapped[str]


class FirewallRuleRow(Table):
    """Sdwan::FirewallRule. Of `selector_*` the one that `selector_kind` tells is set, the others are
    empty; so are both of `destination_*` in a rule for all destinations. `first_port` 0: every port.

    Peers and virtual IPs have no foreign key: a rule outlives them, and then matches nothing.
    `created_at_ms` is milliseconds since the epoch, and grows with each rule of a network.
    """

    __tablename__ = "firewall_rules"
    __table_args__ = (Index("firewall_rules_by_age", "network_id", "created_at_ms"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id", ondelete="CASCADE"))
    direction: Mapped[str]
    action: Mapped[str]
    selector_kind: Mapped[str]
    selector_peer_id: Mapped[str]
    selector_tag_id: Mapped[str] = mapped_column(index=True)
    selector_cidr: Mapped[str]
    protocol: Mapped[str]
    first_port: Mapped[int]
    last_port: Mapped[int]
    priority: Mapped[int]
    destination_virtual_ip_id: Mapped[str]
    destination_prefix: Mapped[str]
    created_at_ms: Mapped[int]


class FirewallTagRow(Table):
    """A tag, by its name on the network. It lives while it has a member or a rule names it."""

    __tablename__ = "firewall_tags"
    __table_args__ = (UniqueConstraint("network_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id", ondelete="CASCADE"))
    name: Mapped[str]


class FirewallTagPeerRow(Table):
    """A peer that is a member of a tag; a detached one is none."""

    __tablename__ = "firewall_tag_peers"
    tag_id: Mapped[str] = mapped_column(
        ForeignKey("firewall_tags.id", ondelete="CASCADE"), primary_key=True
    )
    peer_id: Mapped[str] = mapped_column(
        ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class FirewallTagPrefixRow(Table):
    """A free prefix that is a member of a tag."""

    __tablename__ = "firewall_tag_prefixes"
    tag_id: Mapped[str] = mapped_column(
        ForeignKey("firewall_tags.id", ondelete="CASCADE"), primary_key=True
    )
    prefix: Mapped[str] = mapped_column(primary_key=True)


class PortMappingRow(Table):
    """Sdwan::PortMapping. Of `internal_peer_id` and `internal_virtual_ip_id` one is set, the other is
    empty. `hub_peer_id` is the hub that serves it. It outlives all three, and then is served by nobody.
    """

    __tablename__ = "port_mappings"
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), index=True
    )
    hub_peer_id: Mapped[str]
    external_address: Mapped[str]
    external_port: Mapped[int]
    protocol: Mapped[str]
    internal_peer_id: Mapped[str]
    internal_virtual_ip_id: Mapped[str]
    internal_port: Mapped[int]
    created_at: Mapped[float]


class Rotation(Table):
    """A key rotation. `needed` is JSON, node id -> revision that told it; `events` a JSON list."""

    __tablename__ = "rotations"
    id: Mapped[str] = mapped_column(primary_key=True)
    peer_id: Mapped[str] = mapped_column(ForeignKey("peers.id"), index=True)
    state: Mapped[str]
    entered_at: Mapped[float]
    started_at: Mapped[float]
    needed: Mapped[str]
    events: Mapped[str]
    peer: Mapped[Peer] = relationship(back_populates="rotations")


class NodeRevisionRow(Table):
    """The last revision of a node: revisions stay monotonic over a restart of the platform."""

    __tablename__ = "revisions"
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), primary_key=True)
    revision: Mapped[int]


class ResourceRow(Table):
    """One resource of a node's last revision, with its version. A row each, so that a revision writes
    what it changed and not the thousand peers that it did not."""

    __tablename__ = "resources"
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), primary_key=True)
    kind: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    message: Mapped[bytes] = mapped_column(LargeBinary)


class TagMembershipRow(Table):
    """Members that joined and left a tag of a node after its row in `resources` was written: a tag of
    ten thousand members that gains one is not written anew for each node."""

    __tablename__ = "tag_memberships"
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), primary_key=True)
    tag_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[bytes] = mapped_column(LargeBinary)


class NodeReportRow(Table):
    """The latest report of a node."""

    __tablename__ = "node_reports"
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), primary_key=True)
    received_at: Mapped[float]
    observed_address: Mapped[str]
    report: Mapped[bytes] = mapped_column(LargeBinary)
