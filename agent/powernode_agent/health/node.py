"""What is wrong with the node itself, with a room's work, with a link, with a port mapping. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from powernode_agent.health.codes import LOGS, OF_ROOM, PLAN, STATUS
from powernode_agent.health.condition import Condition
from powernode_agent.model.status import NodeStatus, PortMappingStatus, Result, SubsystemOutcome
from powernode_agent.model.wording import age_text


def node_conditions(status: NodeStatus, now: float) -> Iterator[Condition]:
    """Causes before symptoms: the platform, then revisions."""
    if not status.platform.startswith(("connected", "file ")):
        # Errors of the link that a token would mend say so in their action.
        unknown = "powernode-agent enrol" in status.platform
        yield Condition(
            "PLT-002" if unknown else "PLT-001",
            None,
            "",
            "platform",
            f"platform {status.platform}",
            "powernode-agent enrol --token-file FILE" if unknown else LOGS,
            since=status.platform_away_since,
        )
    rejected = status.rejected
    if rejected is not None:
        first = str(rejected.reasons[0]) if rejected.reasons else "no reason given"
        more = len(rejected.reasons) - 1
        # What could not even be read has no revision.
        what = f"revision {rejected.revision}" if rejected.revision else "desired state"
        text = f"{what} rejected {age_text(now - rejected.rejected_at)} ago: "
        text += first + (f" (and {more} more)" if more > 0 else "")
        yield Condition("REV-001", None, "", "revision", text, STATUS, since=rejected.rejected_at)
    if status.accepted_revision is None:
        text = "no desired state yet: nothing is applied"
        since = status.agent.started_at
        yield Condition("REV-002", None, "", "revision", text, LOGS, since=since)
    elif status.applied_revision != status.accepted_revision:
        applied = "none" if status.applied_revision is None else str(status.applied_revision)
        text = (
            f"revision {status.accepted_revision} is accepted, but not applied (applied: {applied})"
        )
        yield Condition("REV-003", None, "", "revision", text, PLAN)


def work_conditions(status: NodeStatus, now: float) -> Iterator[Condition]:
    """Rooms that failed, links that are down, keys that are others, mappings not in force."""
    for outcome in status.outcomes:
        if outcome.result is Result.ERROR:
            yield _of_outcome(status, outcome, now)
    for network in sorted(status.networks.values(), key=lambda network: network.name):
        id_, name, link = network.network_id, network.name, network.link
        if network.up is False:
            text = f"{name}: link {link} is down"
            yield Condition("LINK-001", id_, "", name, text, f"ip -d link show {link}")
        if None not in (network.public_key, network.wanted_public_key) and (
            network.public_key != network.wanted_public_key
        ):
            text = (
                f"{name}: the device {link} has another key than the platform lists for this node"
            )
            yield Condition("KEY-002", id_, "", name, text, PLAN)
    for mapping in sorted(status.port_mappings.values(), key=lambda each: each.id):
        if mapping.result is Result.ERROR:
            yield _of_mapping(status, mapping)
    flannel = status.flannel
    if flannel is not None and flannel.other_network is not None:
        name = status.networks[flannel.network_id].name
        text = f"{name}: flannel has {flannel.other_network} for all pods"
        yield Condition("K3S-001", flannel.network_id, "", name, text)


def _of_outcome(status: NodeStatus, outcome: SubsystemOutcome, now: float) -> Condition:
    network = status.networks.get(outcome.network_id) if outcome.network_id else None
    where = network.name if network else outcome.network_id or "node"
    room, known = outcome.subsystem, OF_ROOM.get(outcome.subsystem)
    return Condition(
        known or "AGT-002",
        outcome.network_id,
        # Several rooms may share the last row of all.
        "" if known else room,
        room,
        f"{where}: {room}: {outcome.message}, for {age_text(now - outcome.since)}",
        LOGS,
        since=outcome.since,
    )


def _of_mapping(status: NodeStatus, mapping: PortMappingStatus) -> Condition:
    network = status.networks.get(mapping.network_id)
    where = network.name if network else mapping.network_id
    return Condition(
        "PM-003",
        mapping.network_id,
        mapping.id,
        f"port mapping {mapping.id}",
        f"{where}: port mapping {mapping.id} ({mapping.external}): {mapping.message}",
        LOGS,
    )
