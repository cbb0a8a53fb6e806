"""Order and isolation of changes: add before delete, and one bad network stops only itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Step, Verb
from powernode_agent.model.values import NetworkId
from powernode_agent.reconcile.apply import carry_out

CORE, OPS = NetworkId("core"), NetworkId("ops")


class Kernel:
    """Records what was carried out; refuses what it is told to."""

    def __init__(self, refuse: set[str] | None = None) -> None:
        self.done: list[str] = []
        self._refuse = refuse or set()

    def step(self, name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            if name in self._refuse:
                raise AgentError(f"{name} refused")
            self.done.append(name)

        return run

    def change(self, name: str, network: NetworkId, phase: Phase, verb: Verb = Verb.ADD) -> Change:
        return Change("room", network, phase, verb, (name,), self.step(name))


async def test_additions_go_up_the_phases_and_removals_down() -> None:
    kernel = Kernel()
    applied = await carry_out(
        [
            kernel.change("remove device", CORE, Phase.DEVICE, Verb.REMOVE),
            kernel.change("remove route", CORE, Phase.ROUTE, Verb.REMOVE),
            kernel.change("route", CORE, Phase.ROUTE),
            kernel.change("peer", CORE, Phase.PEER, Verb.CHANGE),
            kernel.change("link", CORE, Phase.LINK),
            kernel.change("device", CORE, Phase.DEVICE),
        ]
    )
    assert kernel.done == ["device", "link", "peer", "route", "remove route", "remove device"]
    assert not applied.failures
    assert not applied.skipped


async def test_a_virtual_ip_is_held_last_and_let_go_of_first_and_not_without_a_link() -> None:
    kernel = Kernel(refuse={"ops link"})
    await carry_out(
        [
            kernel.change("release", CORE, Phase.VIRTUAL_IP, Verb.REMOVE),
            kernel.change("remove route", CORE, Phase.ROUTE, Verb.REMOVE),
            kernel.change("hold", CORE, Phase.VIRTUAL_IP),
            kernel.change("setting", CORE, Phase.SETTINGS),
            kernel.change("link", CORE, Phase.LINK),
            kernel.change("ops hold", OPS, Phase.VIRTUAL_IP),
            kernel.change("ops release", OPS, Phase.VIRTUAL_IP, Verb.REMOVE),
            kernel.change("ops link", OPS, Phase.LINK),
        ]
    )
    assert kernel.done == ["link", "setting", "hold", "release", "ops release", "remove route"]


async def test_without_a_device_nothing_of_its_network_is_tried() -> None:
    kernel = Kernel(refuse={"core device"})
    applied = await carry_out(
        [
            kernel.change("core device", CORE, Phase.DEVICE),
            kernel.change("core link", CORE, Phase.LINK),
            kernel.change("core route", CORE, Phase.ROUTE),
            kernel.change("ops device", OPS, Phase.DEVICE),
            kernel.change("ops route", OPS, Phase.ROUTE),
        ]
    )
    assert kernel.done == ["ops device", "ops route"]
    assert [str(error) for error in applied.failures.values()] == ["core device refused"]
    assert [change.lines for change in applied.skipped] == [("core link",), ("core route",)]


async def test_a_refused_route_or_setting_does_not_keep_a_revoked_peer() -> None:
    kernel = Kernel(refuse={"route", "setting"})
    await carry_out(
        [
            kernel.change("peer moved", CORE, Phase.PEER, Verb.CHANGE),
            kernel.change("route", CORE, Phase.ROUTE),
            kernel.change("setting", CORE, Phase.SETTINGS, Verb.CHANGE),
            kernel.change("peer revoked", CORE, Phase.PEER, Verb.REMOVE),
            kernel.change("old route", CORE, Phase.ROUTE, Verb.REMOVE),
        ]
    )
    assert kernel.done == ["peer moved", "old route", "peer revoked"]


async def test_what_stands_in_the_way_goes_first_even_when_it_is_a_removal() -> None:
    kernel = Kernel()
    await carry_out(
        [
            kernel.change("device", CORE, Phase.DEVICE),
            kernel.change("old link", CORE, Phase.CLEAR, Verb.REMOVE),
            kernel.change("other link", OPS, Phase.DEVICE, Verb.REMOVE),
        ]
    )
    assert kernel.done == ["old link", "device", "other link"]


STEPS = st.builds(
    Step,
    st.just("room"),
    st.sampled_from([CORE, OPS, None]),
    st.sampled_from(list(Phase)),
    st.sampled_from(list(Verb)),
)


@given(failed=STEPS, other=STEPS)
def test_no_failure_reaches_another_network_or_holds_a_removal_back(
    failed: Step, other: Step
) -> None:
    if failed != other and failed.hinders(other):
        assert failed.network == other.network
        assert other.verb is not Verb.REMOVE
