"""Numbers that iBGP needs, in the database: an account's AS number and the router numbers of its nodes.

A node gets its number with its first network, whatever that network's routing mode, and keeps it: its
router id is the same on all networks, and over restarts of the platform.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.intent import RoutingMode
from netns_lab.platform.routing_intent import MAX_ROUTER_NUMBER
from netns_lab.platform.tables import Network, NodeInstance


def number_router(context: Context, node: NodeInstance) -> None:
    """Gives a node its router number, if it has none. Raises `ActionError`."""
    if node.router_number:
        return
    last = context.session.scalar(
        select(func.max(NodeInstance.router_number)).where(
            NodeInstance.account_id == node.account_id
        )
    )
    number = (last or 0) + 1
    if number > MAX_ROUTER_NUMBER:
        raise ActionError(
            "node_instance_id",
            f"must leave a free router id; the account's {MAX_ROUTER_NUMBER} are given out",
        )
    node.router_number = number


def ibgp_networks(context: Context) -> Sequence[Network]:
    """The account's networks in which BGP chooses, oldest first."""
    return context.session.scalars(
        select(Network)
        .where(
            Network.account_id == context.account_id,
            Network.routing_mode == RoutingMode.IBGP.value,
        )
        .order_by(Network.created_at, Network.id)
    ).all()
