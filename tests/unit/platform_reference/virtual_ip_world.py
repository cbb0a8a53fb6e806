"""What tests of phase 3 ask the platform, read from the nodes' desired state, and have nodes report."""

from __future__ import annotations

from typing import cast

from firewall_world import Json, call
from platform_world import Lab

from powernode.sdwan.v1 import desired_state_pb2, status_pb2, virtual_ip_pb2

CREATE = "system_sdwan_create_virtual_ip"
UPDATE = "system_sdwan_update_virtual_ip"
FAILOVER = "system_sdwan_failover_virtual_ip"
HOLDING = status_pb2.HOLDER_STATE_HOLDING
STANDBY = status_pb2.HOLDER_STATE_STANDBY
ABSENT = status_pb2.HOLDER_STATE_ABSENT
ALIVE, DEAD = status_pb2.LIVENESS_ALIVE, status_pb2.LIVENESS_DEAD


def wanted(lab: Lab, primary: str = "a", *failover: str, **more: object) -> Json:
    return {
        "network_id": lab.network_id,
        "name": "k3s-api",
        "primary_holder_peer_id": lab.peers[primary],
        "failover_holder_peer_ids": [lab.peers[name] for name in failover],
        "anycast": False,
        **more,
    }


def create(lab: Lab, primary: str = "a", *failover: str, **more: object) -> Json:
    return cast(Json, call(lab, CREATE, **wanted(lab, primary, *failover, **more))["virtual_ip"])


def get(lab: Lab, virtual_ip: Json) -> Json:
    answer = call(lab, "system_sdwan_get_virtual_ip", virtual_ip_id=virtual_ip["id"])
    return cast(Json, answer["virtual_ip"])


def move(lab: Lab, virtual_ip: Json) -> Json:
    return cast(Json, get(lab, virtual_ip)["move"])


def problem(lab: Lab, virtual_ip: Json) -> dict[str, str] | None:
    return cast(dict[str, str] | None, get(lab, virtual_ip)["problem"])


def holders(lab: Lab, virtual_ip: Json) -> dict[str, Json]:
    return {str(each["name"]): each for each in cast(list[Json], get(lab, virtual_ip)["holders"])}


def fail_over(lab: Lab, virtual_ip: Json, **more: object) -> Json:
    return call(lab, FAILOVER, virtual_ip_id=virtual_ip["id"], **more)


def held_on(lab: Lab, name: str) -> virtual_ip_pb2.VirtualIp | None:
    for each in lab.current(name).resources.values():
        if isinstance(each, virtual_ip_pb2.VirtualIp):
            return each
    return None


def holding(lab: Lab) -> set[str]:
    """The nodes that are told to hold."""
    return {name for name in lab.nodes if (held := held_on(lab, name)) is not None and held.hold}


def path_on(lab: Lab, name: str) -> list[str] | None:
    """The names of the candidates of a node's path to a virtual IP; None: it has none."""
    names = {peer: name for name, peer in lab.peers.items()}
    for each in lab.current(name).resources.values():
        if (
            isinstance(each, desired_state_pb2.Path)
            and each.purpose == desired_state_pb2.PATH_PURPOSE_VIRTUAL_IP
        ):
            return [names[candidate.peer_id] for candidate in each.candidates]
    return None


def say(
    lab: Lab,
    name: str,
    virtual_ip: Json | None = None,
    state: status_pb2.HolderState | None = None,
    *peers: status_pb2.PeerStatus,
    announced: bool | None = None,
) -> None:
    """A report of a node that has accepted and applied all it should have."""
    revision = lab.current(name).revision
    report = status_pb2.StatusReport(
        sequence=2, accepted_revision=revision, applied_revision=revision, peers=peers
    )
    if virtual_ip is not None and state is not None:
        since = int(lab.clock[0] * 1000)
        status = report.virtual_ips.add(
            virtual_ip_id=str(virtual_ip["id"]), state=state, since_ms=since
        )
        if announced is not None:
            status.announced = announced
    lab.platform.observer.take(lab.nodes[name], report, None)


def all_alive(lab: Lab, *names: str) -> None:
    """Every node has a hub's handshake, and the hubs hear all of them."""
    at = int(lab.clock[0] * 1000)
    for name in names:
        lab.report(name, networks=(lab.up(),))
    others = [name for name in names if name != "hub-1"]
    say(
        lab,
        "hub-1",
        None,
        None,
        *(
            lab.about(name, liveness=ALIVE, last_handshake_at_ms=at, rtt_us=5_000)
            for name in others
        ),
    )


def pass_tenths(lab: Lab, tenths: int) -> None:
    for _ in range(tenths):
        lab.clock[0] += 0.1
        lab.platform.observer.consider()
