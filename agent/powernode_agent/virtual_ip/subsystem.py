"""The room of virtual IPs: plan, apply, and say who holds what.

It promises that an address stands exactly where it is to be held, that one as it should be costs no
write, and that no host address is ever touched: only addresses of virtual IPs, on our own link. As
`links` does, it plans before the link is there, and looks anew when a step is carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from ipaddress import IPv6Address
from typing import Protocol

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.status import VirtualIpReading
from powernode_agent.model.values import Address, NetworkId
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.netlink.records import InterfaceAddress, Link
from powernode_agent.virtual_ip.holding import Now, measure, not_measured
from powernode_agent.virtual_ip.target import (
    HeldAddress,
    VirtualIpSteps,
    VirtualIpTarget,
    virtual_ip_steps,
)


class AddressKernel(Protocol):
    """What this room needs of `netlink.dispatcher.Netlink`."""

    def link_by_name(self, name: str) -> Link | None: ...

    def addresses(self, index: int) -> Collection[InterfaceAddress]: ...

    async def settle(self) -> None: ...

    async def add_address(
        self,
        index: int,
        address: Address,
        prefix_length: int,
        *,
        replace: bool = False,
        never_source: bool = False,
        metric: int = 0,
    ) -> None: ...

    async def delete_address(self, index: int, address: Address, prefix_length: int) -> None: ...


class NoLinkError(AgentError):
    """The link that a virtual IP is to stand on is not there, or is not ours."""


class VirtualIps:
    """Virtual IPs of all networks. `now` gives both clocks."""

    name = "virtual_ip"

    def __init__(self, kernel: AddressKernel, now: Callable[[], Now]) -> None:
        self._kernel = kernel
        self._now = now
        self._readings: dict[VirtualIpId, VirtualIpReading] = {}

    @property
    def readings(self) -> Mapping[VirtualIpId, VirtualIpReading]:
        """What the last look found."""
        return self._readings

    def look(self, state: DesiredState | None, unseen: Collection[NetworkId]) -> None:
        """Measure all virtual IPs of `state`; `unseen`: networks whose link could not be observed."""
        now = self._now()
        found: dict[VirtualIpId, VirtualIpReading] = {}
        for network_id, entry in {} if state is None else state.networks.items():
            if not entry.virtual_ips:
                continue
            present = {} if network_id in unseen else self._present(entry)
            for id_, virtual_ip in entry.virtual_ips.items():
                before = self._readings.get(id_)
                if network_id in unseen:
                    found[id_] = not_measured(virtual_ip, before, now)
                else:
                    address = present.get(virtual_ip.address)
                    found[id_] = measure(virtual_ip, address, before, now)
        self._readings = found

    def plan(self, targets: Mapping[NetworkId, VirtualIpTarget]) -> list[Change]:
        """The changes that turn what is into `targets`; none for a link that is not ours, of which
        `links` tells."""
        changes: list[Change] = []
        for target in targets.values():
            link = self._kernel.link_by_name(target.link)
            if link is not None and link.alias not in ("", target.alias):
                continue
            addresses = () if link is None else self._kernel.addresses(link.index)
            changes += self._changes(target, virtual_ip_steps(target, addresses))
        return changes

    def _changes(self, target: VirtualIpTarget, steps: VirtualIpSteps) -> list[Change]:
        changes: list[Change] = []

        def add(verb: Verb, lines: tuple[str, ...], apply: Callable[[], Awaitable[None]]) -> None:
            if lines:
                changes.append(
                    Change(self.name, target.network_id, Phase.VIRTUAL_IP, verb, lines, apply)
                )

        add(
            Verb.CHANGE if steps.remade else Verb.ADD,
            (
                *(f"hold virtual IP {v.name}: {_line(v, target)}" for v in steps.added),
                *(
                    f"hold virtual IP {v.name} as it should be: {_line(v, target)}"
                    for v, _ in steps.remade
                ),
            ),
            lambda: self._hold(target),
        )
        add(
            Verb.REMOVE,
            tuple(
                f"release virtual IP {target.released[each.address]}: {each} from {target.link}"
                for each in steps.removed
                if isinstance(each.address, IPv6Address)
            ),
            lambda: self._release(target),
        )
        return changes

    async def _hold(self, target: VirtualIpTarget) -> None:
        link, steps = await self._look_again(target)
        for wanted, found in steps.remade:
            await self._kernel.delete_address(link.index, found.address, found.prefix_length)
            await self._add(link, wanted)
        for wanted in steps.added:
            await self._add(link, wanted)

    async def _add(self, link: Link, wanted: HeldAddress) -> None:
        await self._kernel.add_address(
            link.index,
            wanted.address,
            wanted.address.max_prefixlen,
            never_source=True,
            metric=wanted.metric,
        )

    async def _release(self, target: VirtualIpTarget) -> None:
        link, steps = await self._look_again(target)
        for each in steps.removed:
            await self._kernel.delete_address(link.index, each.address, each.prefix_length)

    async def _look_again(self, target: VirtualIpTarget) -> tuple[Link, VirtualIpSteps]:
        await self._kernel.settle()
        link = self._kernel.link_by_name(target.link)
        if link is None or link.alias != target.alias:
            raise NoLinkError(
                "a virtual IP has no link to stand on",
                which=f"network {target.network_id}, link {target.link}",
                value="missing" if link is None else f"alias {link.alias!r}",
                expected=f"alias {target.alias!r}",
                action="see the errors of links and wireguard for this network",
            )
        return link, virtual_ip_steps(target, self._kernel.addresses(link.index))

    def _present(self, entry: NetworkState) -> Mapping[Address, InterfaceAddress]:
        """Addresses that serve: on our own link, up."""
        link = self._kernel.link_by_name(entry.network.link)
        if link is None or not link.up or link.alias != entry.network.alias:
            return {}
        return {each.address: each for each in self._kernel.addresses(link.index)}


def _line(held: HeldAddress, target: VirtualIpTarget) -> str:
    return f"address {held.address}/128 with metric {held.metric} on {target.link}"
