"""Who this node is to the platform: one value, because a certificate and a key that do not belong
together lock the node out. Its texts are hidden from `repr`; the key is a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from powernode_agent.model.values import NodeId


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's certificate and what belongs to it; replaced as one.

    `certificate_pem` has the node's own certificate first; `ca_pem` is what the node trusts as the
    platform's, in place of the configured CA file; `platform_address` is "host:port" of AgentService.
    """

    node_id: NodeId
    certificate_pem: str = field(repr=False)
    key_pem: str = field(repr=False)
    ca_pem: str = field(repr=False)
    platform_address: str
