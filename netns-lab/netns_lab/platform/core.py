"""The platform as one object: actions in, desired state out, reports in.

Everything here runs on one event loop and without awaiting, so an action, its commit and its push are
one step that nothing interleaves with. An action that is refused, or that fails, rolls its transaction
back, and nothing of it is pushed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, or_, select

from netns_lab.platform import (
    accounts,
    approval_actions,
    audit_log,
    autonomy,
    catalogue,
    enrolment,
    event_actions,
    firewall_audit,
    health_actions,
    hub_promotion,
    lab,
    phase1_clusters,
    phase1_networks,
    phase2_peers,
    phase3_failover,
    phase3_virtual_ips,
    phase4_port_mappings,
    phase5_firewall,
    phase5_tags,
    phase6_route_policies,
    phase7_user_devices,
    phase8_ibgp,
    phase8_lan_subnets,
    phase9_federation,
    policies,
    registry,
    skills,
)
from netns_lab.platform.authority import Authority, Issued, open_authority
from netns_lab.platform.caller import Caller
from netns_lab.platform.context import Answer, Context, Observation
from netns_lab.platform.database import Sessions, open_database
from netns_lab.platform.errors import ActionError
from netns_lab.platform.feeds import NodeFeed
from netns_lab.platform.observer import Clock, Observer
from netns_lab.platform.problems import Remembered
from netns_lab.platform.publisher import Later, Publisher, at_once
from netns_lab.platform.reachability import Address
from netns_lab.platform.registry import Effect, Registry
from netns_lab.platform.revisions import Key, Resource
from netns_lab.platform.tables import Account, NodeInstance
from netns_lab.platform.virtual_ip_memory import VirtualIpMemory
from powernode.sdwan.v1 import agent_service_pb2

REGISTRY: Registry = registry.make_registry(
    (
        *phase1_networks.ACTIONS,
        *phase1_clusters.ACTIONS,
        *phase2_peers.ACTIONS,
        *phase3_virtual_ips.ACTIONS,
        *phase3_failover.ACTIONS,
        *phase4_port_mappings.ACTIONS,
        *phase5_firewall.ACTIONS,
        *phase5_tags.ACTIONS,
        *firewall_audit.ACTIONS,
        *phase6_route_policies.ACTIONS,
        *phase7_user_devices.ACTIONS,
        *phase8_ibgp.ACTIONS,
        *phase8_lan_subnets.ACTIONS,
        *phase9_federation.ACTIONS,
        *skills.ACTIONS,
        *approval_actions.ACTIONS,
        *hub_promotion.ACTIONS,
        *health_actions.ACTIONS,
        *policies.ACTIONS,
        *event_actions.ACTIONS,
        *audit_log.ACTIONS,
        *catalogue.ACTIONS,
        *accounts.ACTIONS,
        *lab.ACTIONS,
    )
)


@dataclass(slots=True, eq=False)
class Platform:
    """A running platform without its sockets. Also the `Services` of actions."""

    engine: Engine
    sessions: Sessions
    authority: Authority
    publisher: Publisher
    observer: Observer
    clock: Clock
    account_id: str
    registry: Registry = field(default_factory=lambda: REGISTRY)
    serves_at: frozenset[Address] = frozenset()
    """Where it listens and what nodes are told to connect to, as far as these are addresses."""
    serves_users_at: str = ""
    """The bootstrap URL of user devices without its token; empty: it serves no HTTP."""

    _autonomy: autonomy.Autonomy = field(init=False)

    def __post_init__(self) -> None:
        self._autonomy = autonomy.Autonomy(
            self.sessions, self.clock, self._audit, self.observer.event
        )

    def call(
        self, action: str, arguments: Mapping[str, object], caller: Caller | None = None
    ) -> Answer:
        """Runs an action, commits it, pushes what it changed, and writes down that it did. `caller`
        None: the platform itself, for its first account. Raises `ActionError`."""
        caller = caller or Caller(self.account_id)
        call = audit_log.Call(self.clock(), caller, registry.plain_name(action), arguments)
        effect = Effect.WRITE
        try:
            found = registry.find(self.registry, action)
            effect = registry.effect_of(found, arguments)
            with self.sessions.begin() as session:
                context = Context(session, caller.account_id, call.at, self, caller)
                answer = found.run(context, arguments)
                if effect is not Effect.READ:
                    audit_log.executed(session, call, context, answer)
        except ActionError as error:
            if effect is not Effect.READ:
                with self.sessions.begin() as session:
                    audit_log.refused(session, call, error)
            raise
        for name, details in context.events:
            self.observer.event(name, **{"account_id": caller.account_id, **details})
        if context.touched or context.touched_nodes or context.touched_filters:
            self.publisher.publish(context.touched, context.touched_nodes, context.touched_filters)
            if context.starts_rotation:
                self.observer.expect_rotations()
            if context.starts_move:
                self.observer.expect_moves()
            self.observer.consider()
        return answer

    def account(self, name: str) -> str:
        """The id of the account of an id or a name. Raises `ActionError`."""
        with self.sessions() as session:
            found = session.scalars(
                select(Account.id).where(or_(Account.id == name, Account.name == name))
            ).first()
        if found is None:
            raise ActionError("account", f"must be an account by id or name; there is no {name!r}")
        return found

    def feed(self, node_id: str) -> NodeFeed | None:
        """The feed of a node; None: there is no such node."""
        return self.publisher.feeds.get(node_id)

    def resume(self, node_id: str, revision: int, digest: bytes) -> None:
        """Hears what revision a node has as it comes; see `Publisher.resume`."""
        if self.publisher.resume(node_id, revision, digest):
            self.observer.event(
                "node.ahead",
                node_instance_id=node_id,
                has=revision,
                becomes=self.publisher.revision(node_id),
            )

    def enrol(self, token: str, csr_pem: str) -> tuple[str, Issued]:
        """A node's id and first certificate. Raises `TokenError` or `RequestError`."""
        with self.sessions.begin() as session:
            node, issued = enrolment.enrol(session, self.authority, token, csr_pem, self.clock())
            node_id = node.id
        self.observer.event("node.enrolled", node_instance_id=node_id, serial=issued.serial)
        return node_id, issued

    def renew(self, node_id: str, csr_pem: str) -> Issued:
        """A newer certificate for a node. Raises `RequestError`."""
        with self.sessions.begin() as session:
            issued = enrolment.certify(session, self.authority, node_id, csr_pem, self.clock())
        self.observer.event("node.renewed", node_instance_id=node_id, serial=issued.serial)
        return issued

    def knows_node(self, node_id: str) -> bool:
        """Whether there is such a NodeInstance."""
        with self.sessions() as session:
            return session.get(NodeInstance, node_id) is not None

    def tick(self) -> None:
        """Does what is due by now: hold-downs, deadlines, and what the platform runs by itself."""
        self.observer.consider()
        self._autonomy.consider()

    def _audit(self, account_id: str, network_id: str) -> Answer:
        return self.call(
            autonomy.ACTION, {"network_id": network_id}, Caller(account_id, "autonomy")
        )

    def close(self) -> None:
        """Lets go of the database."""
        self.engine.dispose()

    def observation(self, node_id: str) -> Observation:
        return self.observer.observation(node_id)

    def addresses(self) -> frozenset[Address]:
        return self.serves_at

    def bootstrap_url(self) -> str:
        return self.serves_users_at

    def remembered(self, network_id: str, peer_id: str) -> Remembered:
        return self.observer.remembered(network_id, peer_id)

    def virtual_ip_memory(self, virtual_ip_id: str) -> VirtualIpMemory:
        return self.observer.virtual_ip_memory(virtual_ip_id)

    def revision(self, node_id: str) -> int:
        return self.publisher.revision(node_id)

    def pods_refused(self, node_id: str) -> str:
        return self.observer.pods.refusal(node_id)

    def events(self, account_id: str = "") -> list[dict[str, object]]:
        owned = list(self.observer.events)
        return [each for each in owned if each["account_id"] == account_id] if account_id else owned

    def actions(self) -> list[dict[str, object]]:
        return [catalogue.describe(each) for each in self.registry.values()]

    def describe_call(self, name: str, arguments: Mapping[str, object]) -> tuple[str, Effect]:
        found = registry.find(self.registry, name)
        registry.check(found, arguments)
        return found.name, registry.effect_of(found, arguments)

    def watchers(self, node_id: str) -> int:
        feed = self.feed(node_id)
        return 0 if feed is None else len(feed.watchers)

    def override(self, node_id: str, resources: Mapping[Key, Resource]) -> None:
        self.publisher.override(node_id, resources)

    def send_raw(self, node_id: str, message: agent_service_pb2.WatchDesiredStateResponse) -> int:
        feed = self.feed(node_id)
        return 0 if feed is None else feed.inject(message)

    def set_certificate_lifetime(self, seconds: float) -> None:
        self.authority.lifetime = seconds


def open_platform(
    directory: Path, clock: Clock, certificate_lifetime: float, later: Later = at_once
) -> Platform:
    """The platform of a state directory (made 0700 if missing), with its one account."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, sessions = open_database(directory / "platform.sqlite")
    with sessions.begin() as session:
        account = session.scalars(select(Account)).first()
        if account is None:
            account = Account(id="acct-default", name="default", ula_pool=accounts.random_pool())
            session.add(account)
        account_id = account.id
    authority = open_authority(directory, certificate_lifetime, clock())
    publisher = Publisher(sessions, later)
    platform = Platform(
        engine=engine,
        sessions=sessions,
        authority=authority,
        publisher=publisher,
        observer=Observer(sessions, publisher, clock),
        clock=clock,
        account_id=account_id,
    )
    publisher.start()
    return platform
