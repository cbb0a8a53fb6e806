"""The room of port mappings: which are applied, the NAT64 they need, and how each of them fares.

The rules themselves are fragments (`compile`), applied by `nftables` with everybody else's. This room
does what lies around them: it keeps mappings off the ports of local services, runs the NAT64 as long
as somebody needs it, lets mapped IPv4 packets be forwarded, and ends the connections that a change of
the rules has left behind, and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.ruleset import Fragment
from powernode_agent.model.status import PortMappingStatus, Result
from powernode_agent.model.values import NetworkId
from powernode_agent.nftables.script import TABLE
from powernode_agent.nftables.socket import stands
from powernode_agent.portmap.clashes import Clashes, Listener, find_clashes
from powernode_agent.portmap.compile import Flow, MappedNetwork
from powernode_agent.portmap.conntrack import forget
from powernode_agent.portmap.errors import PortMapError
from powernode_agent.portmap.forwarding import forwarding_of, incoming_links, missing
from powernode_agent.portmap.listeners import read_listeners
from powernode_agent.portmap.memory import Memory, Translations
from powernode_agent.portmap.nat64 import Nat64
from powernode_agent.portmap.port import Kernel, Sysctls

Mapped = Mapping[NetworkId, MappedNetwork]
Standing = Callable[[NetworkId], Fragment | None]
"""The fragment of this room that stands in the table for a network; None: there is none."""

ListenerReader = Callable[[Collection[tuple[MappingProtocol, int]]], frozenset[Listener]]


class PortMaps:
    """Mappings of all networks. `runtime` is the agent's runtime directory, `packets` reads a counter
    of our table (None: not measured)."""

    name: Final = "portmap"

    def __init__(
        self,
        kernel: Kernel,
        sysctls: Sysctls,
        runtime: Path,
        packets: Callable[[str], int | None],
        *,
        tayga: str | Path = "tayga",
        table_stands: Callable[[], bool] = lambda: stands(TABLE),
        listeners: ListenerReader = read_listeners,
    ) -> None:
        self._kernel = kernel
        self._sysctls = sysctls
        self._packets = packets
        self._listeners = listeners
        self._table_stands = table_stands
        self._nat64 = Nat64(kernel, sysctls, runtime, self.name, tayga)
        self._memory = Memory(runtime / "port-mappings.json")
        self._clashes = Clashes()
        self._incoming: Mapping[IPv4Address, frozenset[str]] = {}
        self._settings_error: AgentError | None = None
        self._settled: dict[NetworkId, Translations] | None = None
        """What conntrack is in step with; None: the memory was not read yet."""
        self._settled_with: dict[NetworkId, Fragment | None] = {}
        """The fragments that stood then, so that the next look is by identity."""

    # What is.

    async def observe(self, state: DesiredState) -> AgentError | None:
        """Look at the local listeners, at the links by which mapped packets come in, and at the NAT64;
        costs next to nothing where nothing is mapped. The error is of the whole room."""
        mappings = [
            each for entry in state.networks.values() for each in entry.port_mappings.values()
        ]
        try:
            await self._kernel.settle()
            self._nat64.observe()
            self._incoming = await incoming_links(
                self._kernel,
                [
                    each.external_address
                    for each in mappings
                    if isinstance(each.external_address, IPv4Address)
                ],
            )
            listeners = self._listeners({(each.protocol, each.external_port) for each in mappings})
        except AgentError as error:
            return error
        found = find_clashes(state.networks.values(), listeners, self._in_force())
        if not found.same(self._clashes):
            self._clashes = found
        return None

    def _in_force(self) -> frozenset[Flow]:
        """The external sides that are mapped, also by an agent before this one: while its table stands.
        Without it nothing was mapped when a service took a port."""
        settled = self._settled
        if settled is None:
            settled = self._memory.read() if self._table_stands() else {}
        return frozenset(sent for pairs in settled.values() for sent in pairs)

    @property
    def refused(self) -> Mapping[PortMappingId, AgentError]:
        """Mappings that are not to be applied, for `compile_mappings`; the same object as long as
        nothing changed about them."""
        return self._clashes.refused

    @property
    def clashes(self) -> Clashes:
        """What mappings and local services have against each other."""
        return self._clashes

    # What is done.

    def plan(self, mapped: Mapped, *, remember: bool = True) -> list[Change]:
        """What mappings need beside their rules: nothing when it is so already. `remember` False: only
        asked, leave no trace."""
        wanted = any(each.by_nat64 for each in mapped.values())
        changes = self._nat64.plan(wanted=wanted, remember=remember)
        lacking = missing(self._wanted_settings(mapped), self._sysctls)
        if lacking:
            lines = tuple(f"{key}: 1" for key in lacking)
            changes.append(
                Change(
                    self.name,
                    None,
                    Phase.SETTINGS,
                    Verb.CHANGE,
                    lines,
                    lambda: self._write_settings(lacking),
                )
            )
        elif remember:
            self._settings_error = None
        return changes

    async def after_applied(self, mapped: Mapped, standing: Standing) -> int:
        """End the connections that what stands in the table would not make any more; how many they
        were. To be called after each pass, when it is known what stands: without a change it compares
        a few identities. A network whose fragment is still to come is left for later. Raises
        `PortMapError`; then the next call tries again."""
        networks = mapped.keys() | self._settled_with.keys()
        stands = {network: standing(network) for network in networks}
        first = self._settled is None
        if not first and all(
            self._settled_with.get(network) is fragment for network, fragment in stands.items()
        ):
            return 0
        if self._settled is None:
            self._settled = self._memory.read()
            stands |= {network: standing(network) for network in self._settled.keys() - networks}
        now: dict[NetworkId, Translations] = {}
        for network, fragment in stands.items():
            wanted = mapped.get(network)
            if wanted is not None and fragment == wanted.fragment:
                now[network] = wanted.translations
            elif fragment is None:
                now[network] = {}
            else:
                # Not ours to judge yet: it is still what it was.
                now[network] = self._settled.get(network, {})
        changed = _changed(self._settled, now)
        ended = await asyncio.to_thread(forget, changed) if changed else 0
        now = {network: pairs for network, pairs in now.items() if pairs}
        if now != self._settled:
            self._memory.write(now)
        self._settled = now
        self._settled_with = {
            network: fragment for network, fragment in stands.items() if fragment is not None
        }
        return ended

    async def purge(self) -> list[str]:
        """End the NAT64 and forget; one line for each thing removed. The rules go with the table.
        Raises `AgentError`."""
        removed = ["stopped NAT64 (tayga)"] if await self._nat64.purge() else []
        self._memory.forget()
        self._settled = None
        self._settled_with = {}
        return removed

    # How it went.

    def statuses(
        self,
        state: DesiredState,
        mapped: Mapped,
        standing: Standing,
        failures: Mapping[NetworkId, AgentError],
    ) -> Mapping[PortMappingId, PortMappingStatus]:
        """Each mapping. `failures`: why this room's fragments are not in the table, by network."""
        found: dict[PortMappingId, PortMappingStatus] = {}
        for network_id, entry in state.networks.items():
            target = mapped.get(network_id)
            fragment = standing(network_id)
            stands = target is not None and (
                fragment is target.fragment or fragment == target.fragment
            )
            for mapping in entry.port_mappings.values():
                error = self._error_of(mapping, target) or failures.get(network_id)
                counter = None if target is None else target.counters.get(mapping.id)
                result = Result.OK if stands and counter is not None else Result.NOT_MEASURED
                if error is not None:
                    result = Result.ERROR
                elif target is not None and mapping.id in target.by_nat64 and not self._nat64.ready:
                    result = Result.NOT_MEASURED
                found[mapping.id] = PortMappingStatus(
                    mapping.id,
                    network_id,
                    result,
                    "" if error is None else str(error),
                    None if counter is None or not stands else self._packets(counter),
                    mapping.external,
                    mapping.internal,
                )
        return found

    def _error_of(self, mapping: PortMapping, target: MappedNetwork | None) -> AgentError | None:
        """What keeps this very mapping from working."""
        if mapping.id in self.refused:
            return self.refused[mapping.id]
        if target is not None and mapping.id in target.by_nat64 and self._nat64.error is not None:
            return self._nat64.error
        outside = mapping.external_address
        if self._settings_error is not None and isinstance(outside, IPv4Address):
            keys = {forwarding_of(link) for link in self._incoming.get(outside, ())}
            if missing(keys, self._sysctls):
                return self._settings_error
        return None

    def _wanted_settings(self, mapped: Mapped) -> frozenset[str]:
        return frozenset(
            forwarding_of(link)
            for each in mapped.values()
            for address in each.outside_ipv4
            for link in self._incoming.get(address, ())
        )

    async def _write_settings(self, keys: tuple[str, ...]) -> None:
        error: AgentError | None = None
        for key in keys:
            try:
                self._sysctls.set(key, "1")
            except AgentError as failure:
                error = error or failure
        self._settings_error = error
        if error is not None:
            raise PortMapError("mapped IPv4 packets are not forwarded", value=str(error)) from error


def _changed(
    before: Mapping[NetworkId, Translations], now: Mapping[NetworkId, Translations]
) -> dict[Flow, Flow]:
    """What is translated in another way than before, and into what; itself: not any more."""
    old = {sent: to for pairs in before.values() for sent, to in pairs.items()}
    new = {sent: to for pairs in now.values() for sent, to in pairs.items()}
    changed = {sent: sent for sent in old.keys() - new.keys()}
    changed |= {sent: to for sent, to in new.items() if old.get(sent) != to}
    return changed
