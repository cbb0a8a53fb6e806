"""A user's laptop behind a NAT, with plain wg-quick, against real agents: let in once, led back to from
wherever the network's hub is, and cut off everywhere at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from netns_lab.lab import Lab
from netns_lab.scenario.laptop import LAPTOP, bring_down, bring_up, open_url
from netns_lab.scenario.stage import Stage, text
from netns_lab.topology import Access, Role, Site, Topology, build

LabFactory = Callable[[Topology], Lab]
HUBS: Final = ("hub-1", "hub-2")
NODES: Final = (*HUBS, "spoke-1", "spoke-2")


@pytest.fixture(scope="module")
def stage(module_lab: LabFactory) -> Stage:
    sites = (Site("spoke-1"), Site("spoke-2"), Site(LAPTOP, Access.NAT, "cafe", Role.LAPTOP))
    lab = module_lab(build(hubs=HUBS, spokes=sites))
    return Stage(lab, lab.start())


def make_network(stage: Stage, **more: object) -> Stage:
    made = Stage(stage.lab, stage.instances)
    answer = made.call("system_sdwan_create_network", overlay_ipv4_prefix="10.66.0.0/24", **more)
    made.network_id = text(answer, "network", "id")
    made.handle = text(answer, "network", "handle")
    for name in NODES:
        attached = made.call(
            "system_sdwan_attach_peer",
            network_id=made.network_id,
            node_instance_id=made.instances[name],
            publicly_reachable=name in HUBS,
        )
        made.peers[name] = text(attached, "peer", "id")
        made.addresses[name] = text(attached, "peer", "host_address")
    return made


def public(stage: Stage, name: str, reachable: bool) -> None:
    stage.call("system_sdwan_update_peer", peer_id=stage.peers[name], publicly_reachable=reachable)


def current_hub(stage: Stage) -> str:
    answer = stage.call("system_sdwan_get_network", network_id=stage.network_id)
    return text(answer, "network", "current_hub_peer_id")


def device(stage: Stage) -> dict[str, str]:
    answer = stage.call("system_sdwan_list_user_devices", network_id=stage.network_id)
    devices = answer["user_devices"]
    assert isinstance(devices, list)
    return dict(devices[-1])


@pytest.mark.parametrize("routing_mode", ["static", "ibgp"])
def test_a_laptop_is_let_in_led_back_to_and_cut_off(stage: Stage, routing_mode: str) -> None:
    network = make_network(stage, name=routing_mode, routing_mode=routing_mode)
    lab, laptop = network.lab, network.node(LAPTOP)
    try:
        # Its home is hub-2, because there is no other hub; then the network is led by hub-1 again.
        public(network, "hub-1", False)
        answer = network.call(
            "system_sdwan_create_access_grant",
            network_id=network.network_id,
            device_name_hint="alice-laptop",
        )
        # Where it is the platform learns from its reports; until then nobody can be let in (503).
        lab.wait_until(
            lambda: network.listed_peers()["hub-2"]["endpoint_address"],
            what="hub-2 to be somewhere",
            timeout=30,
        )
        page = open_url(network, text(answer, "access_grant", "bootstrap_url"), method="POST")
        assert page.status == 200
        assert device(network)["hub"] == "hub-2"
        bring_up(laptop, "alice", page.text)
        for name in NODES:
            lab.wait_until(
                lambda name=name: laptop.answers(network.addresses[name]),
                what=f"{name} to answer the laptop",
                timeout=60,
            )
        public(network, "hub-1", True)
        lab.wait_until(
            lambda: current_hub(network) in ("", network.peers["hub-1"]),
            what="the network to go back to hub-1",
            timeout=90,
        )
        key, prefix = device(network)["public_key"], f"{device(network)['host_address']}/128"
        home = network.listed_peers()["hub-2"]["public_key"]
        assert key not in network.wireguard("spoke-1")
        for name in HUBS:
            lab.wait_until(
                lambda name=name: key in network.wireguard(name), what=f"the device on {name}"
            )
        lab.wait_until(
            lambda: network.carrier("spoke-1", prefix) == home,
            what="spoke-1 to send to the laptop by its home",
            timeout=30,
        )
        for name in NODES:
            lab.wait_until(
                lambda name=name: laptop.answers(network.addresses[name]),
                what=f"{name} to answer the laptop by its home",
                timeout=60,
            )
        asked = network.call(
            "system_sdwan_revoke_user_device", user_device_id=device(network)["id"]
        )
        assert laptop.answers(network.addresses["spoke-1"])
        network.call("system_sdwan_approve", approval_id=asked["approval_id"])
        for name in HUBS:
            lab.wait_until(
                lambda name=name: key not in network.wireguard(name), what=f"it is off {name}"
            )
        assert not laptop.answers(network.addresses["spoke-1"])
        assert not laptop.answers(network.addresses["hub-2"])
    finally:
        # First, and whatever became of the tunnel: the next network has the same IPv4 overlay.
        network.call("system_sdwan_delete_network", network_id=network.network_id, force=True)
        bring_down(laptop, "alice")
