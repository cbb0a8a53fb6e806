"""Actions for the lab alone: making nodes, reading evidence, sending what a real platform never would.

The names begin with `lab_`, so that nobody takes them for the runbook's.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from pydantic import Field
from sqlalchemy import select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.enrolment import DEFAULT_TOKEN_SECONDS, make_token
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase1_networks import Name, NoArguments
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.revisions import each_resource, key_of
from netns_lab.platform.tables import Certificate, NodeInstance
from powernode.sdwan.v1 import agent_service_pb2, desired_state_pb2

M = TypeVar("M", bound=Message)


class CreateNodeInstance(Arguments):
    """`token_seconds`: how long the enrolment token works."""

    name: Name
    token_seconds: Annotated[float, Field(gt=0, le=86400)] = DEFAULT_TOKEN_SECONDS


class NodeReference(Arguments):
    """A NodeInstance by id."""

    node_instance_id: str


class ListEvents(Arguments):
    """Events after `since`, in seconds since the epoch."""

    since: float = 0.0


class PushRaw(NodeReference):
    """`upserts`: a DesiredState in protobuf's JSON, laid over the node's own until it is cleared.
    `message`: a WatchDesiredStateResponse in JSON, sent once as it is. Nothing: clears."""

    upserts: Mapping[str, object] | None = None
    message: Mapping[str, object] | None = None


class CertificateLifetime(Arguments):
    """Lifetime of certificates issued from now on."""

    seconds: Annotated[float, Field(ge=2, le=31_536_000)]


def ping(context: Context, arguments: NoArguments) -> Answer:
    """Says that the platform serves."""
    return {"pong": True, "at": context.now}


def create_node_instance(context: Context, arguments: CreateNodeInstance) -> Answer:
    """Creates a NodeInstance and a one-time token to enrol it with."""
    existing = context.session.scalars(
        select(NodeInstance).where(
            NodeInstance.account_id == context.account_id, NodeInstance.name == arguments.name
        )
    ).first()
    if existing is not None:
        raise ActionError("name", f"must be unique in the account; {arguments.name!r} exists")
    node = NodeInstance(
        id=f"node-{secrets.token_hex(6)}",
        account_id=context.account_id,
        name=arguments.name,
        created_at=context.now,
    )
    context.session.add(node)
    context.session.flush()
    token = make_token(context.session, node.id, context.now, arguments.token_seconds)
    context.touched_nodes.add(node.id)
    context.event("node.created", node_instance_id=node.id, name=node.name)
    return {"node_instance": {"id": node.id, "name": node.name}, "enrolment_token": token}


def list_node_instances(context: Context, arguments: NoArguments) -> Answer:
    """Lists the account's NodeInstances and whether they are connected."""
    nodes = context.session.scalars(
        select(NodeInstance)
        .where(NodeInstance.account_id == context.account_id)
        .order_by(NodeInstance.created_at)
    )
    return {
        "node_instances": [
            {
                "id": node.id,
                "name": node.name,
                "revision": context.services.revision(node.id),
                "watching": context.services.watchers(node.id) > 0,
                "reporting": context.services.observation(node.id).online,
            }
            for node in nodes
        ]
    }


def node_reports(context: Context, arguments: NodeReference) -> Answer:
    """Shows what a node reported last, all its reports merged."""
    node = context.node(arguments.node_instance_id)
    seen = context.services.observation(node.id)
    report = seen.report
    applied = report is not None and report.HasField("applied_revision")
    accepted = report is not None and report.HasField("accepted_revision")
    return {
        "node_instance_id": node.id,
        "name": node.name,
        "desired_revision": context.services.revision(node.id),
        "applied_revision": report.applied_revision if report and applied else None,
        "accepted_revision": report.accepted_revision if report and accepted else None,
        "watching": context.services.watchers(node.id) > 0,
        "reporting": seen.online,
        "observed_address": seen.observed_address or None,
        "reported_seconds_ago": None if report is None else context.now - seen.received_at,
        "report": (
            None
            if report is None
            else json_format.MessageToDict(report, preserving_proto_field_name=True)
        ),
        "certificates": [
            {"serial": each.serial, "not_before": each.not_before, "not_after": each.not_after}
            for each in context.session.scalars(
                select(Certificate)
                .where(Certificate.node_id == node.id)
                .order_by(Certificate.not_after)
            )
        ],
    }


def events(context: Context, arguments: ListEvents) -> Answer:
    """Lists what happened, with the time of each event in seconds since the epoch."""
    return {
        "events": [
            event
            for event in context.services.events(context.account_id)
            if isinstance(at := event["at"], float) and at > arguments.since
        ]
    }


def push_raw(context: Context, arguments: PushRaw) -> Answer:
    """Sends a node what no compiler would, to see it refused."""
    node = context.node(arguments.node_instance_id)
    sent = 0
    if arguments.message is not None:
        sent = context.services.send_raw(
            node.id,
            _parsed("message", arguments.message, agent_service_pb2.WatchDesiredStateResponse()),
        )
    else:
        state = desired_state_pb2.DesiredState()
        upserts = _parsed("upserts", arguments.upserts or {}, state)
        resources = {key_of(resource): resource for resource in each_resource(upserts)}
        context.services.override(node.id, resources)
    return {"revision": context.services.revision(node.id), "sent_to_streams": sent}


def set_certificate_lifetime(context: Context, arguments: CertificateLifetime) -> Answer:
    """Sets how long certificates issued from now on live."""
    context.services.set_certificate_lifetime(arguments.seconds)
    return {"seconds": arguments.seconds}


def _parsed(field: str, raw: Mapping[str, object], message: M) -> M:
    try:
        json_format.ParseDict(dict(raw), message)
    except json_format.ParseError as error:
        raise ActionError(field, f"must be protobuf's JSON: {error}") from None
    return message


ACTIONS: Final[tuple[Action, ...]] = (
    action("lab_ping", NoArguments, ping, effect=Effect.READ),
    action("lab_create_node_instance", CreateNodeInstance, create_node_instance),
    action("lab_list_node_instances", NoArguments, list_node_instances, effect=Effect.READ),
    action("lab_node_reports", NodeReference, node_reports, effect=Effect.READ),
    action("lab_events", ListEvents, events, effect=Effect.READ),
    action("lab_push_raw", PushRaw, push_raw),
    action(
        "lab_set_certificate_lifetime",
        CertificateLifetime,
        set_certificate_lifetime,
        idempotent=True,
    ),
)
