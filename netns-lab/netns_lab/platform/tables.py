"""The platform's tables. Everything an action changes is here; what nodes report lives in memory and is
written down only as the latest report of each node, for evidence.

Times are seconds since the epoch. Private keys of peers with `key_source: platform` are in the
database, as in the runbook's Sdwan::PeerKey; the file is 0600 in a directory that is 0700.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """Base that SQLAlchemy asks for."""


class Account(Table):
    """An account; `ula_pool` is the /48 its networks are allocated from (RFC 4193)."""

    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    ula_pool: Mapped[str]


class NodeInstance(Table):
    """A node that may enrol."""

    __tablename__ = "node_instances"
    __table_args__ = (UniqueConstraint("account_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    created_at: Mapped[float]


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
    """Sdwan::VirtualIp: an address that no peer may get and no pod subnet may cover."""

    __tablename__ = "virtual_ips"
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"), index=True)
    name: Mapped[str]
    address: Mapped[str]


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


class NodeReportRow(Table):
    """The latest report of a node."""

    __tablename__ = "node_reports"
    node_id: Mapped[str] = mapped_column(ForeignKey("node_instances.id"), primary_key=True)
    received_at: Mapped[float]
    observed_address: Mapped[str]
    report: Mapped[bytes] = mapped_column(LargeBinary)
