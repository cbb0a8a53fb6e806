"""Any sequence of actions, reports, silences and restarts around virtual IPs: what nodes hold by deltas
is what is compiled afresh, an agent takes it, and nobody is told to let go of the last address.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from firewall_world import Json, call
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_world import Lab
from test_platform_filter_sequences import NAMES, Nodes, new_lab, plain
from virtual_ip_world import ABSENT, ALIVE, DEAD, HOLDING, STANDBY, UPDATE, create, fail_over, say

from netns_lab.platform.compile import compile_network
from netns_lab.platform.core import open_platform
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_rows import HeldFilter
from netns_lab.platform.queries import load_networks, network_intent, peer_intent
from netns_lab.platform.revisions import Resources, key_of, to_message
from netns_lab.platform.virtual_ip_rows import virtual_ip_intents
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import status_pb2, virtual_ip_pb2
from powernode_agent.model.values import NodeId
from powernode_agent.wire.replica import Replica

names = st.sampled_from(NAMES)
some = st.lists(names, max_size=3)
which = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("create"), names, some, st.booleans()),
    st.tuples(st.just("delete"), which),
    st.tuples(st.just("holders"), which, names, some),
    st.tuples(st.just("failover"), which, st.one_of(st.none(), names)),
    st.tuples(st.just("report"), names, which, st.sampled_from([HOLDING, STANDBY, ABSENT])),
    st.tuples(st.just("probe"), names, names, st.sampled_from([ALIVE, DEAD])),
    st.tuples(st.just("time"), st.integers(1, 120)),
    st.tuples(st.just("away"), names),
    st.tuples(st.just("back"), names),
    st.tuples(st.just("detach"), names),
    st.tuples(st.just("attach"), names),
    st.tuples(st.just("hub"), st.booleans()),
    st.tuples(st.just("restart")),
)


@dataclass
class World:
    """Carries out steps. What the platform refuses, because it makes no sense now, is passed over."""

    lab: Lab
    directory: Path
    made: list[Json] = field(default_factory=list)

    def do(self, step: tuple[object, ...]) -> None:
        with contextlib.suppress(ActionError, IndexError, KeyError, StopIteration):
            self._do(step)

    def _do(self, step: tuple[object, ...]) -> None:
        lab = self.lab
        match step:
            case ("create", str(primary), list(others), bool(anycast)):
                name = f"v{len(self.made)}"
                self.made.append(create(lab, primary, *others, anycast=anycast, name=name))
            case ("delete", int(index)):
                id_ = self.made.pop(index)["id"]
                call(lab, "system_sdwan_delete_virtual_ip", virtual_ip_id=id_)
            case ("holders", int(index), str(primary), list(others)):
                call(
                    lab,
                    UPDATE,
                    virtual_ip_id=self.made[index]["id"],
                    primary_holder_peer_id=lab.peers[primary],
                    failover_holder_peer_ids=[lab.peers[each] for each in others],
                )
            case ("failover", int(index), target):
                more = {} if target is None else {"target_peer_id": lab.peers[str(target)]}
                fail_over(lab, self.made[index], **more)
            case ("report", str(name), int(index), state):
                if lab.platform.observation(lab.nodes[name]).online:
                    say(lab, name, self.made[index], cast(status_pb2.HolderState, state))
            case ("probe", str(name), str(other), liveness):
                if lab.platform.observation(lab.nodes[name]).online:
                    say(lab, name, None, None, lab.about(other, liveness=liveness))
            case ("time", int(tenths)):
                for _ in range(tenths):
                    lab.clock[0] += 0.1
                    lab.platform.observer.consider()
            case ("away", str(name)):
                if lab.platform.observation(lab.nodes[name]).streams:
                    lab.platform.observer.closed(lab.nodes[name])
            case ("back", str(name)):
                if not lab.platform.observation(lab.nodes[name]).streams:
                    lab.online(name)
            case ("detach", str(name)):
                call(lab, "system_sdwan_detach_peer", peer_id=lab.peers[name])
            case ("attach", str(name)):
                hub = {"endpoint_address": "203.0.113.1", "publicly_reachable": True}
                peer = call(
                    lab,
                    "system_sdwan_attach_peer",
                    network_id=lab.network_id,
                    node_instance_id=lab.nodes[name],
                    **(hub if name == "hub" else {}),
                )["peer"]
                lab.peers[name] = str(cast(Json, peer)["id"])
            case ("hub", bool(there)):
                call(
                    lab,
                    "system_sdwan_update_peer",
                    peer_id=lab.peers["hub"],
                    publicly_reachable=there,
                )
            case ("restart",):
                lab.platform.close()
                lab.platform = open_platform(self.directory, lambda: lab.clock[0], 3600.0)

    def check(self) -> None:
        """Whoever may hold an address: one of them is told to, and two only while it moves."""
        listed = call(self.lab, "system_sdwan_list_virtual_ips", network_id=self.lab.network_id)
        for shown in cast(list[Json], listed["virtual_ips"]):
            told = [
                each
                for name in self.lab.nodes
                for each in self.lab.current(name).resources.values()
                if isinstance(each, virtual_ip_pb2.VirtualIp) and each.id == shown["id"]
            ]
            may = cast(list[Json], shown["holders"])
            assert len(told) == len(may)
            holding = sum(each.hold for each in told)
            move = cast(Json, shown["move"] or {"state": "none"})
            if shown["anycast"]:
                assert holding == len(may)
            elif may:
                assert holding == (2 if move["state"] in ("raising", "moving") else 1), move


def afresh(lab: Lab) -> dict[str, Resources]:
    found: dict[str, Resources] = {}
    with lab.platform.sessions() as session:
        for name, node_id in lab.nodes.items():
            node = pb.Node(id=node_id, name=name, account_id=lab.platform.account_id)
            found[node_id] = {key_of(node): node}
        for network in load_networks(session):
            intent = network_intent(
                network,
                tuple(peer_intent(peer) for peer in network.peers),
                HeldFilter(network.id).read(session),
                virtual_ip_intents(session, network.id),
            )
            for node_id, resources in compile_network(intent).nodes.items():
                found[node_id].update(resources)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=30))
def test_what_nodes_hold_is_what_is_compiled_afresh(sequence: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as directory:
        lab = new_lab(Path(directory))
        lab.platform.close()
        lab.platform = open_platform(Path(directory), lambda: lab.clock[0], 3600.0)
        lab.online(*NAMES)
        world, nodes = World(lab, Path(directory)), Nodes(lab)
        world.do(("create", "a", ["b"], False))
        world.do(("create", "b", ["hub", "a"], False))
        nodes.catch_up()
        for step in sequence:
            world.do(step)
            world.check()
            nodes.catch_up()
        expected = afresh(lab)
        for name, node_id in lab.nodes.items():
            assert plain(nodes.tables[name].resources) == plain(expected[node_id])
            assert dict(lab.current(name).resources) == expected[node_id]
            # Raises if the agent would refuse it.
            Replica(partial(NodeId, node_id)).load(to_message(lab.current(name)))
        revisions = {name: lab.current(name) for name in NAMES}
        world.do(("restart",))
        assert {name: lab.current(name) for name in NAMES} == revisions
        lab.platform.close()
