"""Steps in an operator's words: what `plan` prints and the log keeps."""

from __future__ import annotations

from powernode_agent.links.difference import LinkSteps, RouteSteps
from powernode_agent.links.settings import Setting, Sysctls, current
from powernode_agent.links.target import LinkTarget
from powernode_agent.model.values import Prefix
from powernode_agent.netlink.records import InterfaceAddress, Link


def link(target: LinkTarget, present: Link | None, steps: LinkSteps) -> tuple[str, ...]:
    """One line for each step on the link itself."""
    name = target.name
    lines: list[str] = []
    if steps.alias is not None:
        lines.append(f"set alias of {name}: {steps.alias}")
    if steps.mtu is not None:
        before = "" if present is None else f"{present.mtu} -> "
        lines.append(f"set MTU of {name}: {before}{steps.mtu}")
    if steps.no_link_local:
        lines.append(f"set addr_gen_mode of {name}: none")
    lines += [f"replace address {old} of {name}: wrong prefix length" for old in steps.replaced]
    lines += [f"add address {new} to {name}" for new in steps.added]
    lines += [f"keep address {kept} of {name}: its lifetime would end" for kept in steps.kept]
    if steps.up:
        lines.append(f"bring {name} up")
    return tuple(lines)


def renamed_links(target: LinkTarget, renamed: tuple[Link, ...]) -> tuple[str, ...]:
    """One line for each link that is the target's under another name."""
    return tuple(f"remove link {each.name}: it is {target.name}, renamed" for each in renamed)


def old_addresses(target: LinkTarget, unwanted: tuple[InterfaceAddress, ...]) -> tuple[str, ...]:
    """One line for each address to remove."""
    return tuple(f"remove address {old} from {target.name}" for old in unwanted)


def new_routes(target: LinkTarget, steps: RouteSteps) -> tuple[str, ...]:
    """One line for each route to make or remake."""
    return (
        *(f"replace route {_route(prefix, target, steps)}" for prefix in steps.replaced),
        *(f"add route {_route(prefix, target, steps)}" for prefix in steps.added),
    )


def old_routes(target: LinkTarget, steps: RouteSteps) -> tuple[str, ...]:
    """One line for each route to remove."""
    return tuple(
        f"remove route {route.prefix} over {target.name}"
        + (f", metric {route.metric}" if route.prefix in target.host_routes else "")
        for route in steps.removed
    )


def _route(prefix: Prefix, target: LinkTarget, steps: RouteSteps) -> str:
    metric = steps.metrics.get(prefix)
    return f"{prefix} over {target.name}" + ("" if metric is None else f", metric {metric}")


def settings(wanted: tuple[Setting, ...], sysctls: Sysctls) -> tuple[str, ...]:
    """One line for each kernel setting, with what it is now."""
    return tuple(
        f"set {s.key}: {current(s.key, sysctls) or '(absent)'} -> {s.value}" for s in wanted
    )
