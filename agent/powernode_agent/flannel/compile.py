"""The file that k3s reads, byte for byte, from desired state. Pure.

k3s merges the files of its configuration directory in the order of their names, and later ones win. A
server takes the backend and the prefix of the pods and hands both to its agents; to an agent they are
unknown flags. Only these keys are ever written, and their values are typed: nothing of what the
platform sends becomes text that k3s reads in another sense.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.flannel import HOST_GW, FlannelBootstrap, K3sRole
from powernode_agent.model.values import LINK_PREFIX, NetworkId, Prefix

FILE_NAME: Final = "50-powernode-sdwan.yaml"
MARKER: Final = "# Written by powernode-agent"
"""How the first line of the file begins when it is ours."""

_FIRST_LINE: Final = f"{MARKER}: pods of this node go over the SD-WAN. Changes are undone."

_FILE: Final = re.compile(
    re.escape(_FIRST_LINE) + r"\n"
    rf'flannel-iface: "(?P<iface>{LINK_PREFIX}[a-z0-9-]{{1,6}})"\n'
    rf'(?:flannel-backend: "{HOST_GW}"\n'
    r'cluster-cidr: "(?P<cidr>[0-9a-f.:]{1,39}/[0-9]{1,3})"\n)?'
)


@dataclass(frozen=True, slots=True)
class DropIn:
    """The file as it should be, and the unit that reads it."""

    network_id: NetworkId
    text: str
    unit: str
    cluster_cidr: Prefix

    @property
    def settings(self) -> str:
        """What it says, on one line."""
        return ", ".join(self.text.splitlines()[1:])


def compile_drop_in(state: DesiredState) -> DropIn | None:
    """The file of this node; None: there should be none."""
    for entry in state.networks.values():
        if entry.flannel is not None:
            return _drop_in(entry.flannel)
    return None


def parsed(text: str) -> str | None:
    """The file that `text` is, written anew from its parts; None: it is nothing that we ever write."""
    found = _FILE.fullmatch(text)
    if found is None:
        return None
    iface, cidr = found["iface"], found["cidr"]
    if cidr is None:
        return _text(iface, None)
    try:
        return _text(iface, str(ip_network(cidr)))
    except ValueError:
        return None


def is_ours(text: str) -> bool:
    """Whether a file of our name was written by an agent."""
    return text.startswith(MARKER)


def _drop_in(bootstrap: FlannelBootstrap) -> DropIn:
    server = bootstrap.role is K3sRole.SERVER
    return DropIn(
        bootstrap.network_id,
        _text(bootstrap.flannel_iface, str(bootstrap.cluster_cidr) if server else None),
        bootstrap.role.unit,
        bootstrap.cluster_cidr,
    )


def _text(iface: str, cluster_cidr: str | None) -> str:
    """`cluster_cidr` None: for an agent of the cluster."""
    lines = [_FIRST_LINE, f'flannel-iface: "{iface}"']
    if cluster_cidr is not None:
        lines += [f'flannel-backend: "{HOST_GW}"', f'cluster-cidr: "{cluster_cidr}"']
    return "".join(f"{line}\n" for line in lines)
