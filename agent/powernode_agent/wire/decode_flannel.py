"""Bootstrap fields of k3s, from protobuf. As in `decode_peer`, all that is wrong is reported in one
pass."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from powernode.sdwan.v1 import flannel_pb2 as pb
from powernode_agent.model.flannel import HOST_GW, FlannelBootstrap, FlannelBootstrapId, K3sRole
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.texts import FieldReader

_ROLES: Final = {
    int(pb.K3S_ROLE_SERVER): K3sRole.SERVER,
    int(pb.K3S_ROLE_AGENT): K3sRole.AGENT,
}
_ROLE_NAMES: Final = {int(number): name for name, number in pb.K3sRole.items()}
_SOME_PREFIX: Final = IPv4Network("10.42.0.0/16")


def decode_flannel_bootstrap(
    message: pb.FlannelBootstrap, found: list[Violation]
) -> FlannelBootstrap | None:
    """One bootstrap, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"flannel bootstrap {message.id}", found)
    role = reader.choice("role", message.role, _ROLES, _ROLE_NAMES)
    cluster_cidr = reader.prefix("cluster_cidr", message.cluster_cidr, need=True)
    try:
        bootstrap = FlannelBootstrap(
            id=FlannelBootstrapId(message.id),
            network_id=NetworkId(message.network_id),
            role=role or K3sRole.AGENT,
            flannel_iface=message.flannel_iface,
            cluster_cidr=cluster_cidr or _SOME_PREFIX,
            flannel_backend=message.flannel_backend or HOST_GW,
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return bootstrap if len(found) == before else None
