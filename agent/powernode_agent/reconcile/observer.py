"""Looks at what a pass has reason to doubt, and no more: one changed peer must not cost a read of all.

WireGuard is read whole when a poll is due, when a link of ours changed (its device may be another one),
and when everything is looked at. Otherwise only devices that are not known are read, and only for a new
revision or a retry: one that cannot be read must not be waited for at every event. The links' mirror
is brought into step each time; that costs one request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.links.errors import ForeignLinkError
from powernode_agent.links.subsystem import Links
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import Network
from powernode_agent.model.values import NetworkId
from powernode_agent.nftables.errors import NftablesError
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.portmap.subsystem import PortMaps
from powernode_agent.reconcile.ledger import FIREWALL, FLANNEL, PORTMAP, Failures
from powernode_agent.reconcile.schedule import Schedule
from powernode_agent.reconcile.triggers import Trigger
from powernode_agent.wireguard.errors import ForeignLinkError as ForeignDeviceError
from powernode_agent.wireguard.errors import NoAnswerError
from powernode_agent.wireguard.subsystem import Wireguard

EVERYTHING: Final = frozenset({Trigger.SAFETY, Trigger.OPERATOR})
WHOLE_READ: Final = EVERYTHING | {Trigger.POLL, Trigger.LINK}
NEVER_BLIND: Final = frozenset({FIREWALL, PORTMAP, FLANNEL})
"""Rooms that a restart of the daemon would not help to see: no restart brings a missing nftables."""
LEAVE_HANGING: Final = 10.0
"""Seconds for which a device that hangs is not read again: every pass would wait for it."""


class Observer:
    """Observes for the engine; failures are given back, by room and network."""

    def __init__(
        self,
        wireguard: Wireguard,
        links: Links,
        ruleset: Ruleset,
        portmaps: PortMaps,
        flannel: Flannel,
        schedule: Schedule,
        monotonic: Callable[[], float],
    ) -> None:
        self._wireguard = wireguard
        self._links = links
        self._ruleset = ruleset
        self._portmaps = portmaps
        self._flannel = flannel
        self._schedule = schedule
        self._monotonic = monotonic
        self._hanging: dict[NetworkId, tuple[float, AgentError]] = {}
        """Devices that hang: until when they are left alone, and what they said."""

    async def observe(self, state: DesiredState, triggers: frozenset[Trigger]) -> Failures:
        """What these triggers give reason to look at."""
        networks = [entry.network for entry in state.networks.values()]
        failures: Failures = {}
        if triggers & EVERYTHING:
            self._hanging.clear()
        if triggers & WHOLE_READ:
            started = self._monotonic()
            failures |= await self._devices(networks)
            self._schedule.was_read(started, self._monotonic())
        else:
            if triggers & {Trigger.REVISION, Trigger.DUE}:
                unknown = [each for each in networks if not self._wireguard.knows(each)]
                failures |= await self._devices(unknown)
            if Trigger.ROTATION in triggers:
                failures |= await self._handshakes(state)
        failures |= await self._of_ruleset(networks, count=bool(triggers & WHOLE_READ))
        failures |= await self._of_portmaps(state)
        failures |= self._of_flannel(state)
        return failures | await self._of_links(networks)

    async def everything(self, state: DesiredState) -> Failures:
        """All devices and links of a state, also one that is not in force."""
        networks = [entry.network for entry in state.networks.values()]
        return (
            await self._devices(networks)
            | await self._of_links(networks)
            | await self._of_ruleset(networks, count=False)
            | await self._of_portmaps(state)
            | self._of_flannel(state)
        )

    async def again(self, state: DesiredState, networks: Sequence[Network]) -> None:
        """Look once more at these, of the state in force. What fails here fails in the next pass too,
        and is told then."""
        await self._of_portmaps(state)
        self._of_flannel(state)
        await self._devices(networks)
        await self._of_links(networks)

    async def _devices(self, networks: Sequence[Network]) -> Failures:
        started = self._monotonic()
        self._hanging = {k: v for k, v in self._hanging.items() if started < v[0]}
        errors = {
            each.id: self._hanging[each.id][1] for each in networks if each.id in self._hanging
        }
        asked = [each for each in networks if each.id not in errors]
        found = await self._wireguard.observe(asked) if asked else {}
        until = self._monotonic() + LEAVE_HANGING
        self._hanging |= {
            network: (until, error)
            for network, error in found.items()
            if isinstance(error, NoAnswerError)
        }
        return {("wireguard", network): error for network, error in (errors | {**found}).items()}

    async def _of_links(self, networks: Sequence[Network]) -> Failures:
        found = await self._links.observe(networks)
        return {("links", network): error for network, error in found.items()}

    async def _of_ruleset(self, networks: Sequence[Network], *, count: bool) -> Failures:
        try:
            await self._ruleset.observe()
            if count:
                await self._ruleset.count()
        except NftablesError as error:
            return {(FIREWALL, network.id): error for network in networks}
        return {}

    async def _of_portmaps(self, state: DesiredState) -> Failures:
        error = await self._portmaps.observe(state)
        if error is None:
            return {}
        networks = [id_ for id_, entry in state.networks.items() if entry.port_mappings]
        return {(PORTMAP, network): error for network in networks}

    def _of_flannel(self, state: DesiredState) -> Failures:
        error = self._flannel.observe(state)
        if error is None:
            return {}
        return {(FLANNEL, id_): error for id_, e in state.networks.items() if e.flannel is not None}

    async def _handshakes(self, state: DesiredState) -> Failures:
        failures: Failures = {}
        for network_id, entry in state.networks.items():
            keys = {
                key
                for peer in entry.peers.values()
                if peer.next_public_key is not None
                for key in (peer.public_key, peer.next_public_key)
                if key is not None
            }
            if keys and self._wireguard.device(network_id) is not None:
                try:
                    await self._wireguard.poll_handshakes(entry.network, keys)
                except AgentError as error:
                    failures["wireguard", network_id] = error
        return failures


def saw_enough(state: DesiredState, failures: Failures) -> bool:
    """Whether a pass that could not observe everything still is a sign of life: some network was seen.

    A foreign link was seen, and is as it is. Where one device of several cannot be read, the watchdog's
    restart would mend nothing, again and again.
    """
    blind = {
        network
        for (room, network), error in failures.items()
        if room not in NEVER_BLIND and not isinstance(error, ForeignLinkError | ForeignDeviceError)
    }
    return not state.networks or len(blind) < len(state.networks)
