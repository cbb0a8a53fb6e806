"""iBGP of a network, from protobuf. As in `decode_peer`, all that is wrong is reported in one pass, and
what is wrong with a neighbor or an advertisement names it and the instance it is of.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

from powernode.sdwan.v1 import bgp_pb2 as pb
from powernode_agent.model.bgp import (
    BgpInstance,
    BgpInstanceId,
    BgpNeighbor,
    SubnetAdvertisement,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.texts import FieldReader

_SOME_IDENTIFIER: Final = IPv4Address(1)


def decode_bgp_instance(message: pb.BgpInstance, found: list[Violation]) -> BgpInstance | None:
    """One instance, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"BGP instance {message.id}", found)
    router_id = reader.ipv4("router_id", message.router_id, need=True)
    neighbors = (_neighbor(each, reader) for each in message.neighbors)
    advertisements = (_advertisement(each, reader) for each in message.advertisements)
    try:
        instance = BgpInstance(
            id=BgpInstanceId(message.id),
            network_id=NetworkId(message.network_id),
            as_number=message.as_number,
            router_id=_SOME_IDENTIFIER if router_id is None else router_id,
            cluster_id=_cluster_id(message, reader),
            neighbors=tuple(each for each in neighbors if each is not None),
            advertisements=tuple(each for each in advertisements if each is not None),
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return instance if len(found) == before else None


def _cluster_id(message: pb.BgpInstance, reader: FieldReader) -> IPv4Address | None:
    """The cluster id, which a route reflector has and nobody else."""
    if not message.route_reflector:
        if message.cluster_id:
            reader.refuse("cluster_id", message.cluster_id, "empty without route_reflector")
        return None
    cluster_id = reader.ipv4("cluster_id", message.cluster_id, need=True)
    return _SOME_IDENTIFIER if cluster_id is None else cluster_id


def _neighbor(message: pb.BgpNeighbor, reader: FieldReader) -> BgpNeighbor | None:
    try:
        return BgpNeighbor(
            peer_id=PeerId(message.peer_id),
            route_reflector_client=message.route_reflector_client,
            passive=message.passive,
            bfd_interval_ms=message.bfd_interval_ms or None,
        )
    except ModelError as error:
        reader.refuse_part(error)
        return None


def _advertisement(
    message: pb.SubnetAdvertisement, reader: FieldReader
) -> SubnetAdvertisement | None:
    prefix = reader.prefix("advertisements.prefix", message.prefix, need=True)
    if prefix is None:
        return None
    try:
        return SubnetAdvertisement(prefix, message.description)
    except ModelError as error:
        reader.refuse_part(error)
        return None
