"""Phase 7 of the runbook: a user's laptop, behind a NAT, with plain `wg-quick`.

Played on both networks: on the static one, where the platform's paths lead back to the laptop, and on
the iBGP one. What the steps make, they remove.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from netns_lab.errors import LabError
from netns_lab.platform.device_config import NO_PRIVATE_KEY, picture
from netns_lab.scenario.lan import make_lan
from netns_lab.scenario.laptop import (
    BROWSER,
    LAPTOP,
    Page,
    bring_down,
    bring_up,
    key_pair,
    open_url,
)
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, Unmet, expect

HUBS: Final = ("hub-1", "hub-2")
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
LAN_LINK: Final = "annex"
TARGET: Final = 1.0
"""Seconds from an action to the last hub."""


def steps(stage: Stage, teller: Teller, number: int) -> list[Step]:
    """The steps on one network; `number` tells the LANs of several apart."""
    laptop = stage.node(LAPTOP)
    lan = (f"fd00:1a5:7{number}::", f"192.168.{180 + number}.")
    tunnel = f"alice{number}"
    urls: dict[str, str] = {}
    grants: dict[str, str] = {}
    devices: dict[str, str] = {}
    made: dict[str, str] = {}

    def grant(name: str, seconds: int = 900) -> str:
        answer = stage.call(
            "system_sdwan_create_access_grant",
            network_id=stage.network_id,
            device_name_hint=name,
            expires_in_seconds=seconds,
        )
        urls[name] = text(answer, "access_grant", "bootstrap_url")
        grants[name] = text(answer, "access_grant", "id")
        teller.evidence(
            f"{name}: {grants[name]}, {text(answer, 'access_grant', 'status')} until"
            f" {text(answer, 'access_grant', 'expires_at')}"
        )
        return urls[name]

    def device(name: str) -> Mapping[str, object]:
        answer = stage.call("system_sdwan_list_user_devices", network_id=stage.network_id)
        listed = answer["user_devices"]
        for each in listed if isinstance(listed, list) else ():
            if each["name"] == name:
                found: Mapping[str, object] = each
                return found
        raise Unmet(f"list_user_devices has no {name}")

    def on_hubs(key: str) -> list[str]:
        """The hubs whose WireGuard has a key. Not our own report."""
        return [hub for hub in HUBS if key in stage.wireguard(hub)]

    def until_on(key: str, hubs: tuple[str, ...], began: float) -> float:
        stage.lab.wait_until(
            lambda: on_hubs(key) == list(hubs), what=f"the device on {hubs or 'no hub'}", timeout=20
        )
        return time.monotonic() - began

    def destinations() -> dict[str, str]:
        """All that the laptop is to reach, by what it is."""
        there = {name: stage.addresses[name] for name in (*HUBS, NAT, FIREWALLED, OPEN)}
        there |= {"the virtual IP": made["address"], "the LAN, IPv6": f"{lan[0]}1"}
        if "host_ipv4" in made:
            there |= {"the LAN, IPv4": f"{lan[1]}1", "spoke-open, IPv4": made["host_ipv4"]}
        return there

    def reached(patience: float = 20.0) -> list[tuple[str, str, str]]:
        rows = []
        for what, address in destinations().items():
            answers = _eventually(partial(laptop.answers, address), patience)
            rows.append((what, address, "answers" if answers else "no answer"))
        return rows

    def prepared() -> None:
        """A virtual IP and a LAN, for the laptop to reach."""
        virtual = stage.call(
            "system_sdwan_create_virtual_ip",
            network_id=stage.network_id,
            name=f"desk-{number}",
            primary_holder_peer_id=stage.peers[FIREWALLED],
            failover_holder_peer_ids=[stage.peers[OPEN]],
        )
        made["virtual_ip"] = text(virtual, "virtual_ip", "id")
        made["address"] = text(virtual, "virtual_ip", "address")
        node = stage.node(OPEN)
        make_lan(node, f"{LAN_LINK}{number}", f"{lan[0]}1/64", f"{lan[1]}1/24")
        peer = stage.listed_peers()[OPEN]
        before = peer["lan_subnets"]
        kept = [each["prefix"] for each in before] if isinstance(before, list) else []
        if peer["host_ipv4"] is not None:
            made["host_ipv4"] = str(peer["host_ipv4"])
        _announce(stage, [*kept, f"{lan[0]}/64", f"{lan[1]}0/24"])
        teller.evidence(
            f"virtual IP {made['address']}; LANs of spoke-open: {lan[0]}/64, {lan[1]}0/24"
        )

    def granted() -> None:
        url = grant("alice-laptop")
        page = open_url(stage, url, accept=BROWSER)
        expect(page.status == 200, "the link opens", page.status)
        expect("<form" in page.text and "PrivateKey" not in page.text, "a page with a button")
        template = open_url(stage, url)
        expect(NO_PRIVATE_KEY in template.text, "a program gets the configuration without a key")
        expect(page.cache == "no-store" and page.referrer == "no-referrer", "nobody keeps it", page)
        expect(_status(stage, grants["alice-laptop"]) == "open", "looking at it uses nothing up")
        teller.evidence("GET: 200, a page with a button; for programs a configuration to fill in")

    def configured() -> None:
        began = time.monotonic()
        page = open_url(stage, urls["alice-laptop"], method="POST")
        expect(page.status == 200, "the configuration comes", f"{page.status} {page.text[:200]}")
        key = str(device("alice-laptop")["public_key"])
        seconds = until_on(key, HUBS, began)
        devices["alice-laptop"] = str(device("alice-laptop")["id"])
        teller.evidence(_without_key(page.text))
        teller.evidence(f"POST -> on {' and '.join(HUBS)}: {seconds:.2f} s (target {TARGET:g} s)")
        expect(seconds < TARGET, f"hubs carry it within {TARGET:g} s", f"{seconds:.2f} s")
        bring_up(laptop, tunnel, page.text)

    def reaches() -> None:
        rows = reached()
        teller.table(("FROM THE LAPTOP TO", "ADDRESS", "SEEN"), rows)
        for what, address, seen in rows:
            expect(seen == "answers", f"{what} answers the laptop", address)

    def shown() -> None:
        def connected() -> Mapping[str, object]:
            found = device("alice-laptop")
            return found if found["connection"] == "connected" else {}

        found = stage.lab.wait_until(connected, what="the handshake to be told", timeout=40)
        teller.evidence(
            f"{found['name']} {found['host_address']}, {found['status']}, {found['connection']}:"
            f" {found['evidence']}, by {found['hub']}"
        )
        expect(bool(found["last_handshake_at"]), "last_handshake_at is set")

    def filtered() -> None:
        answer = stage.call(
            "system_sdwan_create_firewall_rule",
            network_id=stage.network_id,
            direction="ingress",
            action="drop",
            selector={"kind": "peer", "peer_id": devices["alice-laptop"]},
            protocol="icmp6",
        )
        target = stage.addresses[NAT]
        stage.lab.wait_until(
            lambda: not laptop.answers(target), what="the rule to shut the laptop out", timeout=20
        )
        expect(stage.node(OPEN).answers(target), "others are let in as before")
        stage.call(
            "system_sdwan_delete_firewall_rule",
            firewall_rule_id=text(answer, "firewall_rule", "id"),
        )
        stage.lab.wait_until(
            lambda: laptop.answers(target), what="spoke-nat to answer again", timeout=20
        )
        teller.evidence("dropped for the laptop alone; deleted, it is let in again")

    def scanned() -> None:
        """For a phone: the picture is that of the configuration, and it is what a phone reads."""
        grant("alice-phone")
        page = open_url(stage, urls["alice-phone"], method="POST", accept=BROWSER)
        expect(page.status == 200, "the page comes", page.status)
        drawn = picture(page.config)
        expect(drawn is not None and drawn in page.text, "the QR code is that of the configuration")
        teller.evidence(f"a PNG of {len(page.picture)} bytes for {len(page.config)} characters")
        devices["alice-phone"] = str(device("alice-phone")["id"])

    def own_key() -> None:
        """The runbook's three steps in their order: the private key never leaves the laptop."""
        grant("bob-laptop")
        template = open_url(stage, urls["bob-laptop"]).text
        private, public = key_pair(laptop)
        began = time.monotonic()
        answer = stage.call(
            "system_sdwan_issue_user_device",
            network_id=stage.network_id,
            access_grant_id=grants["bob-laptop"],
            public_key=public,
        )
        devices["bob-laptop"] = text(answer, "user_device", "id")
        seconds = until_on(public, HUBS, began)
        bring_down(laptop, tunnel)
        bring_up(laptop, f"bob{number}", template.replace(NO_PRIVATE_KEY, private))
        rows = reached()
        bring_down(laptop, f"bob{number}")
        bring_up(laptop, tunnel, laptop.path(f"/run/{tunnel}.conf").read_text())
        teller.evidence(
            f"{text(answer, 'user_device', 'host_address')}, status"
            f" {text(answer, 'user_device', 'status')}; on every hub after {seconds:.2f} s"
        )
        expect(all(seen == "answers" for _, _, seen in rows), "it reaches everything", rows)

    def closed() -> None:
        """Links that open nothing, each with what it says."""
        forged = urls["alice-laptop"][:-6] + "AAAAAA"
        grant("late", seconds=1)
        grant("withdrawn")
        stage.call("system_sdwan_revoke_access_grant", access_grant_id=grants["withdrawn"])
        stage.lab.wait_until(
            lambda: _status(stage, grants["late"]) == "expired", what="the grant to expire"
        )
        cases = [
            ("used at the link", urls["alice-laptop"], 410),
            ("used by the operator", urls["bob-laptop"], 410),
            ("expired", urls["late"], 410),
            ("revoked", urls["withdrawn"], 410),
            ("forged", forged, 404),
            ("without a token", forged.partition("?")[0], 404),
        ]
        rows = []
        for what, url, status in cases:
            for method in ("GET", "POST"):
                page = open_url(stage, url, method=method)
                rows.append((what, method, page.status, page.text.strip().partition(".")[0]))
                expect(page.status == status, f"{what}: {method} gives {status}", page.status)
                expect(_says_nothing(stage, page), f"{what}: nothing else is told", page.text)
        teller.table(("LINK", "METHOD", "STATUS", "SAYS"), rows)

    def bad_keys() -> None:
        url = grant("carol")
        hub_key = next(iter(stage.wireguard(NAT)))
        rows = []
        for what, key in (
            ("not base64", "x" * 44),
            ("too short", "AbCd="),
            ("all zero", "A" * 43 + "="),
            ("a hub's own", hub_key),
            ("a device's", str(device("bob-laptop")["public_key"])),
        ):
            page = open_url(stage, url, method="POST", key=key)
            rows.append((what, page.status, page.text.strip()))
            expect(page.status == 400, f"{what}: refused", page.status)
        teller.table(("KEY", "STATUS", "SAYS"), rows)
        expect(_status(stage, grants["carol"]) == "open", "the grant is as it was")
        stage.call("system_sdwan_revoke_access_grant", access_grant_id=grants["carol"])

    def revoked() -> None:
        found = device("alice-laptop")
        key = str(found["public_key"])
        answer = stage.call(
            "system_sdwan_revoke_user_device", user_device_id=devices["alice-laptop"]
        )
        expect(answer["status"] == "pending", "it waits for approval", answer)
        expect(on_hubs(key) == list(HUBS), "nothing has happened", on_hubs(key))
        expect(laptop.answers(stage.addresses[NAT]), "the laptop is still in")
        teller.evidence(f"pending: {answer['approval_id']}; the laptop is still in")
        began = time.monotonic()
        stage.call("system_sdwan_approve", approval_id=answer["approval_id"])
        seconds = until_on(key, (), began)
        expect(not laptop.answers(stage.addresses[NAT]), "the laptop is out")
        teller.evidence(
            f"approved -> off every hub: {seconds:.2f} s; {device('alice-laptop')['status']}"
        )
        expect(seconds < TARGET, f"off every hub within {TARGET:g} s", f"{seconds:.2f} s")

    def cleared() -> None:
        bring_down(laptop, tunnel)
        for name in ("alice-phone", "bob-laptop"):
            answer = stage.call("system_sdwan_revoke_user_device", user_device_id=devices[name])
            stage.call("system_sdwan_approve", approval_id=answer["approval_id"])
        stage.call("system_sdwan_delete_virtual_ip", virtual_ip_id=made["virtual_ip"])
        lans = stage.listed_peers()[OPEN]["lan_subnets"]
        kept = [each["prefix"] for each in lans] if isinstance(lans, list) else []
        _announce(stage, [each for each in kept if not each.startswith(lan)])
        for link in (LAN_LINK, f"{LAN_LINK}{number}-a"):
            stage.node(OPEN).run(["ip", "link", "delete", link], check=False)
        stage.node(OPEN).run(["ip", "link", "delete", f"{LAN_LINK}{number}"])

    return [
        Step("a virtual IP and a LAN to reach", prepared),
        Step("create an access grant; looking at its link uses nothing up", granted),
        Step("the user takes the configuration, and wg-quick brings it up", configured),
        Step("the laptop reaches overlay, virtual IP and LAN", reaches),
        Step("the platform knows when it was last heard of", shown),
        Step("a firewall rule for the device", filtered),
        Step("a phone reads the QR code", scanned),
        Step("the user's own key, issued by the operator", own_key),
        Step("used, expired, revoked and forged links", closed),
        Step("wrong keys are refused, and use nothing up", bad_keys),
        Step("revoke the device: it waits for approval, then it is off every hub", revoked),
        Step("the other devices, the virtual IP and the LAN go again", cleared),
    ]


def _eventually(check: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not check():
        if time.monotonic() > deadline:
            return False
    return True


def _status(stage: Stage, grant_id: str) -> str:
    answer = stage.call("system_sdwan_list_access_grants", network_id=stage.network_id)
    listed = answer["access_grants"]
    for each in listed if isinstance(listed, list) else ():
        if each["id"] == grant_id:
            return str(each["status"])
    raise LabError("the platform has lost a grant", which=grant_id)


def _announce(stage: Stage, lans: list[str]) -> None:
    stage.call(
        "system_sdwan_update_peer_lan_subnets",
        peer_id=stage.peers[OPEN],
        subnets=[{"prefix": prefix} for prefix in lans],
    )


def _says_nothing(stage: Stage, page: Page) -> bool:
    secrets = ("PrivateKey", "PublicKey", "Endpoint", "alice", "bob", stage.addresses["hub-1"])
    return not any(each in page.text for each in secrets)


def _without_key(config: str) -> str:
    return "\n".join(
        "PrivateKey = (shown once)" if line.startswith("PrivateKey") else line
        for line in config.strip().splitlines()
    )
