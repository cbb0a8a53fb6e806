"""Carries out what a plan says for one link, against the link as it is at that moment.

Between plan and application the link may have been made (WireGuard does, earlier in the same pass),
changed or replaced, so each step settles, finds the link anew, makes sure that it is ours, and takes
the difference again: the plan's own code, run on fresher facts. Every function raises `AgentError`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from powernode_agent.links.difference import (
    check_ours,
    link_steps,
    renamed_links,
    route_steps,
    unwanted_addresses,
)
from powernode_agent.links.errors import LinkMissingError, RouteTakenError
from powernode_agent.links.port import LinkKernel
from powernode_agent.links.settings import Setting, Sysctls
from powernode_agent.links.target import LinkTarget
from powernode_agent.model.network import MIN_MTU
from powernode_agent.model.values import ROUTE_PROTOCOL, Prefix
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.records import Link


async def bring_up(kernel: LinkKernel, target: LinkTarget) -> None:
    """Alias, MTU, addresses, up; in this order.

    The alias first: from then on the link is recognisably ours, whatever fails next. The MTU before the
    addresses, because below 1280 the kernel takes IPv6 off a link, addresses and all.
    """
    link = await _present(kernel, target)
    steps = link_steps(target, link, kernel.addresses(link.index))
    if steps.alias is not None or steps.mtu is not None:
        await kernel.set_link(link.index, alias=steps.alias, mtu=steps.mtu)
    if steps.no_link_local:
        await kernel.set_link(link.index, no_link_local=True)
        if link.mtu < MIN_MTU:
            # The MTU has given IPv6 back to a link that is up, and so a link-local address first.
            await kernel.settle()
            for made in kernel.addresses(link.index):
                if made.link_local:
                    await kernel.delete_address(link.index, made.address, made.prefix_length)
    for old in steps.replaced:
        await kernel.delete_address(link.index, old.address, old.prefix_length)
    for new in steps.added:
        await kernel.add_address(link.index, new.address, new.prefix_length)
    for kept in steps.kept:
        await kernel.add_address(link.index, kept.address, kept.prefix_length, replace=True)
    if steps.up:
        await kernel.set_link(link.index, up=True)


async def remove_renamed(kernel: LinkKernel, target: LinkTarget) -> None:
    """The target's link under another name. wireguard-go, with the old one's socket, ends too."""
    await kernel.settle()
    for renamed in renamed_links(target, kernel.links().values()):
        await kernel.delete_link(renamed.index)


async def remove_addresses(kernel: LinkKernel, target: LinkTarget) -> None:
    """Addresses on our link that nobody asked for."""
    link = await _present(kernel, target)
    for old in unwanted_addresses(target, kernel.addresses(link.index)):
        await kernel.delete_address(link.index, old.address, old.prefix_length)


async def add_routes(
    kernel: LinkKernel, target: LinkTarget, others: Mapping[str, LinkTarget]
) -> None:
    """Our routes over the link. `others` are the targets of our other links, by link name.

    A route of ours that another link of ours no longer wants moves here in one step. One that somebody
    else put in the place stays: RouteTakenError.
    """
    link = await _present(kernel, target)
    steps = route_steps(target, kernel.routes(link.index))
    movable = _movable(kernel, link, others)
    replaced = [*steps.replaced, *(prefix for prefix in steps.added if prefix in movable)]
    if replaced:
        await kernel.add_routes(link.index, replaced, replace=True, metrics=steps.metrics)
    added = [prefix for prefix in steps.added if prefix not in movable]
    if not added:
        return
    try:
        await kernel.add_routes(link.index, added, metrics=steps.metrics)
    except NetlinkError as error:
        if error.number != errno.EEXIST:
            raise
        await kernel.settle()
        missing = route_steps(target, kernel.routes(link.index)).added
        if missing:
            raise RouteTakenError(target.name, list(missing)) from error


async def remove_routes(kernel: LinkKernel, target: LinkTarget) -> None:
    """Our routes over the link that nobody wants any more."""
    link = await _present(kernel, target)
    await kernel.delete_routes(route_steps(target, kernel.routes(link.index)).removable)


async def write_settings(sysctls: Sysctls, settings: tuple[Setting, ...]) -> None:
    """In the given order, and no further than the first that cannot be written: IPv6 forwarding must
    not be turned on when an `accept_ra` before it was refused."""
    for setting in settings:
        if sysctls.read(setting.key) != setting.value:
            sysctls.write(setting)


async def _present(kernel: LinkKernel, target: LinkTarget) -> Link:
    await kernel.settle()
    link = kernel.link_by_name(target.name)
    if link is None:
        raise LinkMissingError(target.name, target.network_id)
    check_ours(target.name, target.alias, link)
    return link


def _movable(kernel: LinkKernel, link: Link, others: Mapping[str, LinkTarget]) -> frozenset[Prefix]:
    """Prefixes of our routes on other links of ours that are not wanted there."""
    found: set[Prefix] = set()
    for other in kernel.links().values():
        if other.index == link.index or not other.ours_by_name:
            continue
        target = others.get(other.name)
        wanted = frozenset[Prefix]() if target is None else target.routes
        if wanted is None:
            continue
        if target is not None:
            wanted = wanted.union(target.host_routes)
        found.update(
            route.prefix
            for route in kernel.routes(other.index)
            if route.protocol == ROUTE_PROTOCOL and route.prefix not in wanted
        )
    return frozenset(found)
