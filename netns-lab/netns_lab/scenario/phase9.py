"""Phase 9 of the runbook: a second account, and a bridge between one of its networks and ours."""

from __future__ import annotations

import time
from typing import Final

from netns_lab import sabotage
from netns_lab.errors import ActionError
from netns_lab.prober import Probe
from netns_lab.scenario.bgp import named, next_hops, vtysh
from netns_lab.scenario.lan import make_lan
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, Unmet, expect
from netns_lab.scenario.traffic import interruption, settle

ACCOUNT: Final = "globex"
HUB_B, SPOKE_B = "hub-b", "spoke-b"
ELSEWHERE: Final = (HUB_B, SPOKE_B)
"""The nodes of the second account."""
HUB_1, HUB_2, NAT = "hub-1", "hub-2", "spoke-nat"
SHOP, SHOP_HOST = "fd00:5b0b:1::/64", "fd00:5b0b:1::1"
VAULT, VAULT_HOST = "fd00:5b0b:2::/64", "fd00:5b0b:2::1"
"""Two LANs behind spoke-b: one is advertised to us, the other is nobody's business."""
REVOKED_TARGET: Final = 1.0
"""Seconds from the action to when no hub has a peer of the other account."""


def steps(stage: Stage, fabric: Stage, remote: Stage, teller: Teller) -> list[Step]:
    """The steps. `stage` is our static network, `fabric` our iBGP network, `remote` the account that
    these steps make, with `instances` to be filled in."""
    agreed: list[str] = []

    def account() -> None:
        answer = stage.call("lab_create_account", name=ACCOUNT)
        teller.evidence(str(answer))
        remote.account = ACCOUNT
        instances = dict(remote.instances)
        for name in ELSEWHERE:
            node = remote.node(name)
            instances[name] = remote.lab.enrol(node, account=ACCOUNT)
            node.start_agent()
        for name in ELSEWHERE:
            remote.node(name).await_agent()
        remote.instances = instances
        made = remote.call("system_sdwan_create_network", name="globex-core")
        remote.network_id = text(made, "network", "id")
        remote.handle = text(made, "network", "handle")
        for name, public, lans in ((HUB_B, True, []), (SPOKE_B, False, [SHOP, VAULT])):
            attached = remote.call(
                "system_sdwan_attach_peer",
                network_id=remote.network_id,
                node_instance_id=instances[name],
                publicly_reachable=public,
                lan_subnets=lans,
            )
            remote.peers[name] = text(attached, "peer", "id")
            remote.addresses[name] = text(attached, "peer", "host_address")
        node = remote.node(SPOKE_B)
        for link, address in (("shop", SHOP_HOST), ("vault", VAULT_HOST)):
            make_lan(node, link, f"{address}/64")
        remote.lab.wait_until(
            lambda: remote.node(HUB_B).answers(remote.addresses[SPOKE_B], timeout=0.3),
            what="the second account's own overlay to work",
            timeout=30,
        )
        for mine, others in ((stage, remote), (remote, stage)):
            try:
                mine.call("system_sdwan_get_network", network_id=others.network_id)
            except ActionError as error:
                teller.evidence(str(error))
            else:
                expect(False, "no account sees a network of the other")

    def proposed() -> None:
        answer = stage.call(
            "system_sdwan_propose_federation_peer",
            attributes={
                "network_id": stage.network_id,
                "remote_account_id": _account_id(remote),
                "remote_network_id": remote.network_id,
                "peer_kind": "sdwan_only",
            },
        )
        agreed.append(text(answer, "federation_peer", "id"))
        expect(text(answer, "federation_peer", "status") == "proposed", "it is proposed", answer)
        for side in (stage, remote):
            listed = side.call("system_sdwan_list_federation_peers", network_id=side.network_id)
            teller.evidence(f"{side.account or 'we'}: {listed['federation_peers']}")
        expect(not _bridged(stage, remote), "no hub has a peer of the other account")
        answers = stage.node(NAT).answers(remote.addresses[SPOKE_B], timeout=0.5)
        expect(not answers, "nothing crosses")

    def accepted() -> None:
        with _across(stage, remote, NAT, remote.addresses[SPOKE_B]) as running:
            settle(running, 10)
            began = time.monotonic()
            answer = remote.call(
                "system_sdwan_accept_federation_peer",
                id=agreed[0],
                advertised_prefixes=[_prefix(remote), SHOP],
            )
            expect(text(answer, "federation_peer", "status") == "active", "it is active", answer)
            stage.lab.wait_until(
                lambda: running.snapshot().received > 0, what="the first answer", timeout=20
            )
            seconds = time.monotonic() - began
        teller.evidence(f"accepted -> spoke-nat hears from spoke-b: {seconds * 1000:.0f} ms")
        with _across(stage, remote, NAT, SHOP_HOST) as running:
            settle(running, 60)
        teller.evidence(f"spoke-nat -> the LAN {SHOP} behind spoke-b: {running.result().summary()}")
        expect(running.result().received > 30, "a LAN that is advertised is reached")
        back = remote.node(SPOKE_B).answers(stage.addresses[NAT], timeout=1.0)
        expect(back, "spoke-b reaches spoke-nat")
        hubs = [(HUB_1, stage), (HUB_2, stage), (HUB_B, remote)]
        rows = [
            (name, line.public_key[:8] + "…", line.endpoint, " ".join(sorted(line.allowed_ips)))
            for name, side in hubs
            for line in side.wireguard(name).values()
            if not any(each.startswith(_start(side)) for each in line.allowed_ips)
        ]
        teller.table(("HUB", "PEER", "ENDPOINT", "ALLOWED IPS (wg show)"), rows)

    def no_more() -> None:
        """What is not advertised has no way there; who makes himself one is stopped at the far hub."""
        expect(
            not stage.node(NAT).answers(VAULT_HOST, timeout=0.5),
            "what is not advertised is not there",
        )
        hub, target = stage.node(HUB_1), remote.node(HUB_B)
        before = _dropped(remote, HUB_B)
        hub.stop_agent()
        try:
            key = _key_of(remote, HUB_B)
            allowed = [*stage.wireguard(HUB_1)[key].allowed_ips, VAULT]
            hub.run(["wg", "set", stage.link, "peer", key, "allowed-ips", ",".join(allowed)])
            hub.run(["ip", "-6", "route", "replace", VAULT, "dev", stage.link])
            answers = hub.answers(VAULT_HOST, timeout=1.0)
            dropped = _dropped(remote, HUB_B) - before
        finally:
            hub.start_agent()
            hub.await_agent()
        teller.evidence(
            f"hub-1 with a forged route and allowed IP to {VAULT}: {dropped} packets dropped by"
            f" {target.name}'s table"
        )
        expect(not answers and dropped > 0, "the far hub lets nothing through", (answers, dropped))
        stage.lab.wait_until(
            lambda: VAULT not in stage.wireguard(HUB_1)[key].allowed_ips,
            what="hub-1's agent to put right what was forged",
        )
        hub.run(["ip", "-6", "route", "del", VAULT, "dev", stage.link], check=False)

    def filtered() -> None:
        """The rules of either side hold of what crosses."""
        answer = remote.call(
            "system_sdwan_create_firewall_rule",
            network_id=remote.network_id,
            direction="ingress",
            action="drop",
            selector={"kind": "cidr", "cidr": _prefix(stage)},
            protocol="icmp6",
        )
        target = remote.addresses[SPOKE_B]

        def open_() -> bool:
            return stage.node(NAT).answers(target, timeout=0.3)

        stage.lab.wait_until(lambda: not open_(), what="pings from our prefix to be dropped")
        own = remote.node(HUB_B).answers(target, timeout=1.0)
        expect(own, "the rule is about our prefix alone")
        remote.call(
            "system_sdwan_delete_firewall_rule",
            firewall_rule_id=text(answer, "firewall_rule", "id"),
        )
        stage.lab.wait_until(open_, what="pings to pass without the rule")
        teller.evidence("dropped by cidr, and let in again")

    def rotated() -> None:
        """The key of the other account's hub changes under traffic."""
        before = _key_of(remote, HUB_B)
        with _across(stage, remote, NAT, remote.addresses[SPOKE_B]) as running:
            settle(running, 50)
            remote.call("sdwan_peer_remediate", peer_id=remote.peers[HUB_B])
            stage.lab.wait_until(
                lambda: before not in stage.wireguard(HUB_1), what="the old key to go", timeout=30
            )
            settle(running, 50)
        result = running.result()
        teller.evidence(f"hub-b's key rotated: {result.summary()}")
        expect(interruption(result) < 1000, "traffic goes on", result.summary())

    def hub_lost() -> None:
        """Our hub in use is cut off: both sides go by the other one."""
        hub = stage.node(_serving(stage, remote))
        with _across(stage, remote, NAT, remote.addresses[SPOKE_B]) as running:
            settle(running, 50)
            sabotage.isolate(hub)
            try:
                stage.lab.wait_until(
                    lambda: _serving(stage, remote) != hub.name,
                    what="hub-b to send by the other hub",
                    timeout=30,
                )
                settle(running, 100)
            finally:
                sabotage.rejoin(hub)
        result = running.result()
        teller.evidence(f"{hub.name} cut off: {result.summary()}")
        expect(interruption(result) < 15_000, "traffic goes on by the other hub", result.summary())

    def refused() -> None:
        ours: dict[str, object] = {
            "network_id": stage.network_id,
            "remote_account_id": _account_id(remote),
            "remote_network_id": remote.network_id,
            "peer_kind": "sdwan_only",
        }
        propose = "system_sdwan_propose_federation_peer"
        cases: list[tuple[Stage, str, dict[str, object], str]] = [
            (stage, propose, {"attributes": ours}, "attributes.remote_network_id"),
            (
                stage,
                propose,
                {"attributes": {**ours, "peer_kind": "platform"}},
                "attributes.peer_kind",
            ),
            (
                stage,
                propose,
                {"attributes": {**ours, "network_id": remote.network_id}},
                "attributes.network_id",
            ),
            (
                stage,
                propose,
                {"attributes": {**ours, "remote_network_id": stage.network_id}},
                "attributes.remote_network_id",
            ),
            (remote, "system_sdwan_accept_federation_peer", {"id": agreed[0]}, "id"),
            (stage, "system_sdwan_revoke_federation_peer", {"id": "fed-nobody"}, "id"),
            (
                stage,
                "system_sdwan_update_peer_lan_subnets",
                {"peer_id": stage.peers[NAT], "subnets": [{"prefix": "fd00:5b0b:1:0:8000::/65"}]},
                "subnets.0.prefix",
            ),
            (stage, "system_sdwan_delete_network", {"network_id": stage.network_id}, "force"),
        ]
        rows = []
        for side, action, wish, field in cases:
            try:
                side.lab.call(action, wish, account=side.account)
            except ActionError as error:
                rows.append((error.field, error.rule))
                expect(error.field == field, f"the error names {field}", error.field)
            else:
                expect(False, f"{action} refuses a bad {field}", wish)
        teller.table(("FIELD", "RULE"), rows)

    def revoked() -> None:
        began = time.monotonic()
        remote.call("system_sdwan_revoke_federation_peer", id=agreed.pop())
        stage.lab.wait_until(
            lambda: not _bridged(stage, remote), what="every hub to be without the peer"
        )
        seconds = time.monotonic() - began
        teller.evidence(
            f"revoked -> no hub has a peer of the other account: {seconds * 1000:.0f} ms"
            f" (target {REVOKED_TARGET * 1000:.0f} ms)"
        )
        expect(seconds < 4 * REVOKED_TARGET, "it is gone at once", seconds)
        answers = stage.node(NAT).answers(remote.addresses[SPOKE_B], timeout=0.5)
        expect(not answers, "nothing crosses any more")
        route = stage.node(HUB_1).run(["ip", "-6", "route", "show", _prefix(remote)]).stdout
        expect(not route.strip(), "no route is left", route)

    def by_bgp() -> None:
        """The same bridge on our iBGP network: reflectors announce what lies beyond."""
        answer = fabric.call(
            "system_sdwan_propose_federation_peer",
            attributes={
                "network_id": fabric.network_id,
                "remote_account_id": _account_id(remote),
                "remote_network_id": remote.network_id,
                "peer_kind": "sdwan_only",
                "advertised_prefixes": [_prefix(fabric)],
            },
        )
        id_ = text(answer, "federation_peer", "id")
        with _across(fabric, remote, NAT, remote.addresses[SPOKE_B]) as running:
            settle(running, 10)
            began = time.monotonic()
            remote.call("system_sdwan_accept_federation_peer", id=id_)
            fabric.lab.wait_until(
                lambda: running.snapshot().received > 0, what="the first answer", timeout=20
            )
            seconds = time.monotonic() - began
            settle(running, 60)
        teller.evidence(f"accepted -> spoke-nat hears from spoke-b: {seconds * 1000:.0f} ms")
        prefix = _prefix(remote)
        hops = named(fabric, next_hops(fabric, NAT, prefix))
        teller.evidence(f"spoke-nat: {prefix} by BGP via {', '.join(hops)}")
        expect(
            len(hops) == 1 and hops[0] in (HUB_1, HUB_2), "it was learned from a reflector", hops
        )
        announcing = [
            name
            for name in fabric.peers
            if f"network {prefix} " in vtysh(fabric, name, "show running-config")
        ]
        expect(announcing == hops, "one reflector announces it and nobody else", announcing)
        fabric.call("system_sdwan_revoke_federation_peer", id=id_)
        fabric.lab.wait_until(
            lambda: not next_hops(fabric, NAT, prefix) and not _bridged(fabric, remote),
            what="the prefix to be withdrawn, and the peers to go",
        )

    return [
        Step("a second account with two nodes and a network of its own", account),
        Step("propose: nothing crosses", proposed),
        Step("accept: the overlay and one LAN are reached through the hubs", accepted),
        Step("nothing more than what is advertised crosses, forged or not", no_more),
        Step("firewall rules hold of federation traffic", filtered),
        Step("the other account's hub rotates its key", rotated),
        Step("our hub in use is cut off", hub_lost),
        Step("bad input is refused, by field and rule", refused),
        Step("revoke, by the other side: gone at once", revoked),
        Step("the same on our iBGP network", by_bgp),
    ]


def _across(stage: Stage, remote: Stage, source: str, target: str) -> Probe:
    """A running probe from one of our nodes to an address of the other account."""
    return stage.node(source).probe(target, source=stage.addresses[source])


def _account_id(remote: Stage) -> str:
    accounts = remote.call("lab_list_accounts")["acting_for"]
    return str(accounts)


def _prefix(side: Stage) -> str:
    return text(
        side.call("system_sdwan_get_network", network_id=side.network_id), "network", "prefix"
    )


def _start(side: Stage) -> str:
    """What every host address of a network begins with."""
    return next(iter(side.addresses.values())).rpartition("::")[0] + "::"


def _key_of(side: Stage, name: str) -> str:
    """The public key that a node's own device has."""
    return side.node(name).run(["wg", "show", side.link, "public-key"]).stdout.strip()


def _bridged(ours: Stage, remote: Stage) -> bool:
    """Whether any hub has a WireGuard peer of the other account."""
    keys = {_key_of(ours, HUB_1), _key_of(ours, HUB_2)}
    there = {_key_of(remote, HUB_B)}
    return bool(
        there & ours.wireguard(HUB_1).keys()
        or there & ours.wireguard(HUB_2).keys()
        or keys & remote.wireguard(HUB_B).keys()
    )


def _serving(ours: Stage, remote: Stage) -> str:
    """The hub of ours to which the other account's hub gives our prefix."""
    key = remote.carrier(HUB_B, _prefix(ours))
    for name in (HUB_1, HUB_2):
        if key and key == _key_of(ours, name):
            return name
    raise Unmet(f"hub-b gives our prefix to no hub of ours: {key or 'nobody'}")


def _dropped(side: Stage, name: str) -> int:
    """Packets that a node's filter of the network has dropped."""
    counter = f"n_{side.handle}_dropped"
    done = side.node(name).run(
        ["nft", "list", "counter", "inet", "powernode_sdwan", counter], check=False
    )
    words = done.stdout.split()
    return int(words[words.index("packets") + 1]) if "packets" in words else 0
