"""The room of links: observe, plan, apply; and the MTU that the underlay allows.

It promises that nothing foreign is touched (`difference` says what is ours), that a link as it should
be costs no kernel write, and that a plan may be made before WireGuard has made the link: the same
lines appear, and the link is looked up when they are carried out (`carry_out`).

Kernel settings come after routes: a sandbox with a read-only /proc/sys then still gets its tunnels,
and an error that names the setting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Network, ip_interface

from powernode_agent.errors import AgentError
from powernode_agent.links import carry_out, describe
from powernode_agent.links.difference import (
    OUR_KINDS,
    check_ours,
    link_steps,
    renamed_links,
    route_steps,
    unwanted_addresses,
)
from powernode_agent.links.errors import ForeignLinkError
from powernode_agent.links.port import LinkKernel
from powernode_agent.links.settings import Setting, Sysctls, differing, host_settings
from powernode_agent.links.target import LinkTarget
from powernode_agent.links.underlay import Underlay
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import Network
from powernode_agent.model.status import LinkObservation
from powernode_agent.model.values import ALIAS_PREFIX, NetworkId
from powernode_agent.netlink.errors import NetlinkError


class Links:
    """Links of all networks."""

    name = "links"

    def __init__(self, netlink: LinkKernel, sysctls: Sysctls) -> None:
        self._kernel = netlink
        self._sysctls = sysctls
        self._underlay = Underlay(netlink)
        netlink.on_event(self._underlay.on_event)
        self._names: dict[NetworkId, tuple[str, str]] = {}
        self._lan_links: dict[NetworkId, frozenset[str]] = {}

    async def observe(self, networks: Iterable[Network]) -> Mapping[NetworkId, AgentError]:
        """Bring what is known into step with the kernel; the errors of those networks whose link is
        not ours, or that could not be looked at. A link that does not exist yet is no error."""
        networks = list(networks)
        try:
            await self._kernel.settle()
        except NetlinkError as error:
            return {network.id: error for network in networks}
        errors: dict[NetworkId, AgentError] = {}
        for network in networks:
            self._names[network.id] = (network.link, network.alias)
            try:
                self._lan_links[network.id] = await self._find_lan_links(network)
            except NetlinkError as error:
                errors[network.id] = error
            link = self._kernel.link_by_name(network.link)
            if link is not None:
                try:
                    check_ours(network.link, network.alias, link)
                except ForeignLinkError as error:
                    errors[network.id] = error
        return errors

    def link(self, network_id: NetworkId) -> LinkObservation | None:
        """The link of a network as it is now; None: there is none of ours, or it was never observed."""
        name, alias = self._names.get(network_id, ("", ""))
        link = self._kernel.link_by_name(name)
        if link is None or link.kind not in OUR_KINDS or link.alias not in ("", alias):
            return None
        return LinkObservation(
            ifindex=link.index,
            name=link.name,
            up=link.up,
            mtu=link.mtu,
            addresses=frozenset(
                ip_interface(str(address)) for address in self._kernel.addresses(link.index)
            ),
        )

    async def underlay_mtus(self, state: DesiredState) -> Mapping[NetworkId, int]:
        """The MTU that each network's link should have. Raises NetlinkError."""
        await self._kernel.settle()
        return await self._underlay.mtus(state)

    def keep(self, networks: Collection[NetworkId]) -> None:
        """Forget what is known of all networks but these; touches nothing in the kernel."""
        self._underlay.keep(networks)
        for known in (self._names, self._lan_links):
            for network_id in known.keys() - set(networks):
                del known[network_id]

    def leftovers(self, state: DesiredState) -> Mapping[str, NetworkId]:
        """Links that carry our marks of networks this node is no longer on, or that have moved to
        another link: link name to the network id of its alias."""
        wanted = {network_id: entry.network.link for network_id, entry in state.networks.items()}
        found: dict[str, NetworkId] = {}
        for link in self._kernel.links().values():
            if not link.ours_by_name or link.kind not in OUR_KINDS:
                continue
            if not link.alias.startswith(ALIAS_PREFIX):
                continue
            network_id = NetworkId(link.alias.removeprefix(ALIAS_PREFIX))
            if wanted.get(network_id) != link.name:
                found[link.name] = network_id
        return found

    def plan(self, targets: Mapping[NetworkId, LinkTarget]) -> list[Change]:
        """The changes that turn what is into `targets`: none when it is so already, none for a link
        that is not ours (`observe` says so). A link that somebody renamed goes, and is made anew: its
        wireguard-go has its socket under the old name and would not be found again."""
        by_name = {target.name: target for target in targets.values()}
        changes: list[Change] = []
        host = self._host_settings(targets)
        for target in targets.values():
            try:
                planned = self._plan_link(target, by_name)
            except ForeignLinkError:
                continue
            settings = differing(target.settings, self._sysctls)
            if target.forwards:
                # With each of them: if one network cannot be built, the others still forward.
                settings = (*settings, *host)
            changes += planned
            if settings:
                changes.append(
                    self._change(
                        target,
                        Phase.SETTINGS,
                        Verb.CHANGE,
                        describe.settings(settings, self._sysctls),
                        self._write(settings),
                    )
                )
        return changes

    def _plan_link(self, target: LinkTarget, by_name: Mapping[str, LinkTarget]) -> list[Change]:
        """Changes of link and routes. Raises ForeignLinkError."""
        kernel = self._kernel
        link = kernel.link_by_name(target.name)
        if link is not None:
            check_ours(target.name, target.alias, link)
        addresses = kernel.addresses(link.index) if link is not None else ()
        present = kernel.routes(link.index) if link is not None else ()
        steps = link_steps(target, link, addresses)
        routes = route_steps(target, present)
        # Nothing is taken from a link before it bears our mark: without one it may be somebody's, and
        # only its device says so.
        marked = link is not None and link.alias == target.alias
        unwanted = unwanted_addresses(target, addresses) if marked else ()
        changes: list[Change] = []

        renamed = renamed_links(target, kernel.links().values())
        if renamed:
            changes.append(
                Change(
                    self.name,
                    None,  # whatever is wrong with the network: it stands in its way
                    Phase.CLEAR,
                    Verb.REMOVE,
                    describe.renamed_links(target, renamed),
                    lambda: carry_out.remove_renamed(kernel, target),
                )
            )

        def add(
            phase: Phase, verb: Verb, lines: tuple[str, ...], apply: Callable[[], Awaitable[None]]
        ) -> None:
            if lines:
                changes.append(self._change(target, phase, verb, lines, apply))

        add(
            Phase.LINK,
            Verb.ADD if link is None else Verb.CHANGE,
            describe.link(target, link, steps),
            lambda: carry_out.bring_up(kernel, target),
        )
        add(
            Phase.ROUTE,
            Verb.ADD,
            describe.new_routes(target, routes),
            lambda: carry_out.add_routes(kernel, target, by_name),
        )
        add(
            Phase.ROUTE,
            Verb.REMOVE,
            describe.old_routes(target, routes),
            lambda: carry_out.remove_routes(kernel, target),
        )
        add(
            Phase.LINK,
            Verb.REMOVE,
            describe.old_addresses(target, unwanted),
            lambda: carry_out.remove_addresses(kernel, target),
        )
        return changes

    def _change(
        self,
        target: LinkTarget,
        phase: Phase,
        verb: Verb,
        lines: tuple[str, ...],
        apply: Callable[[], Awaitable[None]],
    ) -> Change:
        return Change(self.name, target.network_id, phase, verb, lines, apply)

    def _write(self, settings: tuple[Setting, ...]) -> Callable[[], Awaitable[None]]:
        return lambda: carry_out.write_settings(self._sysctls, settings)

    def _host_settings(self, targets: Mapping[NetworkId, LinkTarget]) -> tuple[Setting, ...]:
        forwarding = [target for target in targets.values() if target.forwards]
        if not forwarding:
            return ()
        lan_links = frozenset[str]().union(
            *(self._lan_links.get(target.network_id, frozenset()) for target in forwarding)
        )
        return host_settings(
            self._sysctls,
            lan_links=lan_links,
            ipv4_overlay=any(target.ipv4 for target in forwarding),
            our_links=frozenset(target.name for target in targets.values()),
        )

    async def _find_lan_links(self, network: Network) -> frozenset[str]:
        """The links that lead to the network's IPv4 LAN subnets behind this node."""
        found: set[str] = set()
        for subnet in network.interface.lan_subnets:
            if not isinstance(subnet, IPv4Network):
                continue
            inside = subnet.network_address + (1 if subnet.prefixlen < 31 else 0)
            route = await self._kernel.route_to(inside)
            if route is None or route.oif is None:
                continue
            link = self._kernel.links().get(route.oif)
            # Not the way out to the internet: a LAN that is not connected yet is not behind it.
            if link is not None and not link.ours_by_name and route.prefix.prefixlen > 0:
                found.add(link.name)
        return frozenset(found - {"lo"})
