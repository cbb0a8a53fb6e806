"""The task that has FRR follow, on real daemons: what hangs is named and comes back, and what is
refused makes nobody blind."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from routing_cases import permit, policy
from routing_states import Overlay, Site, desired_state, network_state
from routing_world import FrrNode, frr_world

from powernode_agent.daemon.routes import Underneath, evidence
from powernode_agent.frr.service import FrrService
from powernode_agent.frr.supervised import Places, Supervised
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.model.route_policy import PolicyDirection, RouteMatch, RoutePolicy, RouteSet
from powernode_agent.model.status import (
    Backend,
    BgpSession,
    BgpState,
    PeerState,
    WireguardDevice,
)
from powernode_agent.netlink.records import Route
from powernode_agent.routing import subsystem
from powernode_agent.routing.compile import compile_frr
from powernode_agent.routing.sessions import Evidence
from powernode_agent.routing.subsystem import Routing
from powernode_agent.store.note import Note

CORE = Overlay("core", 1)
LAN: Final = "fd00:a:9::/64"
HUB, OWN = Site(1, hub=True, lans=(LAN,)), Site(11)
SITES: Final = (HUB, OWN)
INTERVAL_MS: Final = 100
KEY: Final = (CORE.id, HUB.peer_id(CORE))
_CLONE_NEWNET: Final = 0x40000000


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(outside, _CLONE_NEWNET) == 0
        os.close(there)
        os.close(outside)


def state_of(*policies: RoutePolicy) -> DesiredState:
    return desired_state(
        network_state(CORE, OWN, SITES, policies=policies, bfd_interval_ms=INTERVAL_MS)
    )


@dataclass
class Followed:
    """A node with the agent's own task, and a hub that it talks to."""

    routing: Routing
    node: FrrNode
    hub: FrrNode
    places: Places
    state: DesiredState = field(default_factory=state_of)
    said: list[str] = field(default_factory=list)
    """Errors of routing, in the order in which they came."""

    def want(self, state: DesiredState) -> None:
        self.state = state
        self.routing.want(state)

    def changed(self) -> None:
        for error in self.routing.failures(self.state).values():
            if str(error) not in self.said:
                self.said.append(str(error))

    @property
    def session(self) -> BgpState:
        return self.routing.sessions(self.state, {})[KEY].state

    def pid(self, name: str) -> int:
        return int((self.places.run / f"{name}.pid").read_text())

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(90):
                while not holds():  # noqa: ASYNC110 - some of it is FRR's, which sets no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"never: {what}; session {self.session}, said {self.said}")

    async def until_established(self) -> None:
        await self.until("established", lambda: self.session is BgpState.ESTABLISHED)


@pytest_asyncio.fixture
async def followed() -> AsyncIterator[Followed]:
    directory = Path(tempfile.mkdtemp(prefix="pnfrr-"))
    os.chmod(directory, 0o755)  # noqa: S103
    places = Places(run=directory / "run", config=directory / "etc")
    daemons = Supervised(places)
    service = FrrService(places, daemons, note=Note(directory / "note", "note"))
    with frr_world("h", "a") as nodes:
        for name, site in (("h", HUB), ("a", OWN)):
            nodes[name].attach(CORE, site, network_state(CORE, site, SITES).network)
        nodes["h"].start()
        hub = network_state(CORE, HUB, SITES, bfd_interval_ms=INTERVAL_MS)
        nodes["h"].configure(compile_frr(desired_state(hub)))
        nodes["h"].lan("lan0", LAN)
        with inside(nodes["a"].name):
            routing = Routing(service, places.run, tuple, time.monotonic, lambda: made.changed())
            made = Followed(routing, nodes["a"], nodes["h"], places)
            task = asyncio.create_task(routing.run())
            try:
                made.want(made.state)
                yield made
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await daemons.end()
                shutil.rmtree(directory)


@pytest.mark.parametrize("name", ["bgpd", "zebra", "bfdd"])
async def test_a_daemon_that_hangs_is_named_and_started_anew(followed: Followed, name: str) -> None:
    await followed.until_established()
    before = followed.pid(name), followed.pid("bgpd")
    os.kill(before[0], signal.SIGSTOP)
    try:
        if name == "bgpd":
            # Long before it is called hanging: what it said last is not what is.
            await followed.until("not measured", lambda: followed.session is BgpState.NOT_MEASURED)
            assert followed.said == []
        await followed.until("it is named", lambda: bool(followed.said))
        await followed.until("another one", lambda: followed.pid(name) != before[0])
    finally:
        with suppress(ProcessLookupError):
            os.kill(before[0], signal.SIGCONT)
    await followed.until("all is well", lambda: not followed.routing.pending(followed.state))
    assert not followed.routing.failures(followed.state)
    (said,) = followed.said
    assert f"an FRR daemon hangs ({name}): got no answer in 10 s" in said
    assert "the agent starts it anew" in said
    assert (followed.pid("bgpd") != before[1]) is (name != "bfdd")
    await followed.until_established()
    hops = [str(HUB.address(CORE))]
    await followed.until("a route by BGP", lambda: followed.node.route(LAN) == hops)
    # bgpd and bfdd lost what they ran, and that was put right.
    assert followed.routing.take_repaired() > 0
    assert followed.routing.take_repaired() == 0


async def test_a_daemon_that_is_only_slow_is_left_alone(followed: Followed) -> None:
    await followed.until_established()
    bgpd = followed.pid("bgpd")
    os.kill(bgpd, signal.SIGSTOP)
    try:
        await followed.until("not measured", lambda: followed.session is BgpState.NOT_MEASURED)
    finally:
        os.kill(bgpd, signal.SIGCONT)
    await followed.until_established()
    assert followed.pid("bgpd") == bgpd
    assert followed.said == []


DEVICE: Final = WireguardDevice("wg-sdwan-core", Backend.USERSPACE, None, 51821, {})


async def test_what_a_session_stands_on_is_told_with_its_cause(followed: Followed) -> None:
    await followed.until_established()
    await followed.until("BFD", lambda: set(followed.hub.bfd().values()) == {"up"})
    followed.hub.pull(CORE)
    await followed.until(
        "down", lambda: followed.routing.is_down(HUB.address(CORE)) and followed.said == []
    )
    over_link = followed.node.own_routes("wg-sdwan-core")
    assert over_link

    def seen(
        routes: list[Route] | None, device: WireguardDevice | None
    ) -> tuple[Evidence, BgpSession]:
        underneath = Underneath({}, {CORE.id: device}, lambda _link: routes, time.time())
        found = evidence(followed.state, underneath, followed.routing)
        return found[KEY], followed.routing.sessions(followed.state, found)[KEY]

    known, session = seen(over_link, DEVICE)
    assert (known.routed, known.peer) == (True, PeerState.HANDSHAKE_PENDING)
    assert "no handshake yet" in session.likely_cause
    known, session = seen([], None)
    assert (known.routed, known.peer) == (False, None)
    assert f"no route to the neighbour's address {HUB.address(CORE)}" in session.likely_cause
    known, session = seen(None, None)
    assert (known.routed, known.peer) == (None, None)
    assert "route" not in session.likely_cause


REFUSED: Final = policy(
    "spring-cleaning",
    PolicyDirection.IMPORT,
    permit(10, RouteMatch(prefix=ip_network("fd00:a::/32")), RouteSet(med=1)),
    network=CORE,
)


async def test_a_refused_line_names_its_policy_and_hides_no_session(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await followed.until_established()

    def spoilt(state: DesiredState) -> FrrConfig:
        """No policy that FRR refuses gets past the model, so one is compiled wrongly."""
        return FrrConfig(
            {
                context: tuple(line.replace("set metric 1", "set metric one") for line in lines)
                for context, lines in compile_frr(state).contexts.items()
            }
        )

    monkeypatch.setattr(subsystem, "compile_frr", spoilt)
    followed.want(state_of(REFUSED))
    await followed.until("refused", lambda: bool(followed.said))
    await followed.until("refused again", lambda: bool(followed.routing.failures(followed.state)))
    assert "route policy spring-cleaning (policy-spring-cleaning)" in followed.said[0]
    for _ in range(200):
        assert followed.session is BgpState.ESTABLISHED
        await asyncio.sleep(0.01)
