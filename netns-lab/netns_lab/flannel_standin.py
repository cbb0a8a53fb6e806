"""A stand-in for k3s with flannel: does to the kernel of a node exactly what flannel's host-gw does.

`python -m netns_lab.flannel_standin ...` runs in a node's network namespace and plays one k3s process.
It reads k3s's drop-ins once, when it starts, as k3s does; takes a subnet of the cluster's prefix from
a table that all nodes of the lab share (in a cluster that is the API server); writes subnet.env; and
makes a route to each other node's pods by that node's address on its flannel interface: no `onlink`,
no protocol of its own, metric 0. So a next hop that the kernel does not find directly on that interface
is refused here as it is by flannel. A route for the same prefix that is another one is deleted first,
and what is missing is made again every ten seconds (pkg/backend/route_network.go of flannel).

What leaves for somewhere else than pods is masqueraded, as flannel does with its IPMASQ. Without
`flannel-backend: host-gw` it does as k3s would: it starts, and its pods do not go over the overlay.
SIGHUP is a restart: the process starts over as a new one, and routes stay, as when flannel ends.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, Final

CHECK_SECONDS: Final = 10.0
"""routeCheckRetries of flannel."""
POLL_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 0.5
SUBNET_LENGTH: Final = 24
"""node-cidr-mask-size-ipv4 of Kubernetes."""
FORWARDING: Final = Path("/proc/sys/net/ipv4/conf/all/forwarding")
"""k3s sets it when it starts (pkg/agent/syssetup)."""


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one node, and of the cluster. `drop_ins`: k3s's config.yaml.d."""

    drop_ins: Path
    subnet_env: Path
    leases: Path
    pid: Path


@dataclass(frozen=True, slots=True)
class Config:
    """What k3s reads of its drop-ins. Empty: not said."""

    iface: str = ""
    backend: str = ""
    cluster_cidr: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's pods, and the address by which they are reached."""

    node: str
    subnet: IPv4Network
    public_ip: str


class NotYetError(Exception):
    """What keeps flannel from starting; k3s ends then, and systemd starts it again."""


def read_config(directory: Path) -> Config:
    """All files in the order of their names, later ones winning; flat keys only."""
    found: dict[str, str] = {}
    for file in sorted(directory.glob("*.yaml")):
        for line in file.read_text().splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.lstrip().startswith("#"):
                found[key.strip()] = value.strip().strip('"')
    return Config(
        found.get("flannel-iface", ""),
        found.get("flannel-backend", ""),
        found.get("cluster-cidr", ""),
    )


def lease_for(
    table: Mapping[str, Mapping[str, str]], network: IPv4Network, node: str
) -> IPv4Network:
    """The subnet of a node: that it had, else the lowest free one."""
    known = table.get(node)
    if known is not None and IPv4Network(known["subnet"]).subnet_of(network):
        return IPv4Network(known["subnet"])
    taken = {each["subnet"] for each in table.values()}
    for candidate in network.subnets(new_prefix=SUBNET_LENGTH):
        if str(candidate) not in taken:
            return candidate
    raise NotYetError(f"no subnet of {network} is left")


class Standin:
    """One k3s process."""

    def __init__(self, node: str, server: bool, places: Places) -> None:
        self._node = node
        self._server = server
        self._places = places
        self._routed: dict[str, Lease] = {}
        self._ending = self._for_good = False

    def end(self, *, for_good: bool = False) -> None:
        """Have it end at the next look."""
        self._ending = True
        self._for_good = self._for_good or for_good

    def run(self) -> bool:
        """Until it is ended; whether it is to start over. What could not start is tried again, as
        systemd does."""
        config = read_config(self._places.drop_ins)
        _say(f"k3s {'server' if self._server else 'agent'} started: {config}")
        said = ""
        while not self._ending:
            try:
                self._run(config)
            except NotYetError as error:
                if str(error) != said:
                    said = str(error)
                    _say(said)
                time.sleep(RETRY_SECONDS)
        return not self._for_good

    def _run(self, config: Config) -> None:
        network = self._cluster(config)
        public_ip, mtu = _address_of(config.iface), _mtu(config.iface)
        with self._table() as table:
            nodes = table["nodes"]
            subnet = lease_for(nodes, network, self._node)
            nodes[self._node] = {"subnet": str(subnet), "public_ip": public_ip}
        FORWARDING.write_text("1")
        _masquerade(network, subnet)
        self._write_subnet_env(network, subnet, mtu)
        _say(f"flannel: {subnet} on {config.iface} ({public_ip}), MTU {mtu}")
        checked = time.monotonic()
        while not self._ending:
            others = {each.node: each for each in self._others()}
            for node in self._routed.keys() - others.keys():
                self._forget(config.iface, self._routed.pop(node))
            for node, lease in others.items():
                if self._routed.get(node) != lease:
                    self._routed[node] = lease
                    _route_add(config.iface, lease)
            if time.monotonic() - checked > CHECK_SECONDS:
                checked = time.monotonic()
                for lease in others.values():
                    if not _has_route(config.iface, lease):
                        _add(config.iface, lease)
            time.sleep(POLL_SECONDS)

    def _cluster(self, config: Config) -> IPv4Network:
        """The prefix of all pods: a server says it, an agent is told by the server."""
        with self._table() as table:
            if self._server:
                if config.backend != "host-gw" or not config.cluster_cidr:
                    raise NotYetError(f"flannel backend {config.backend or 'vxlan'}: no pods here")
                table["cluster"] = {"cidr": config.cluster_cidr}
            found = table["cluster"].get("cidr", "")
        if not found:
            raise NotYetError("no server of the cluster is there yet")
        if not config.iface:
            raise NotYetError(
                "no flannel-iface: flannel would take the interface of the default route"
            )
        return IPv4Network(found)

    def _others(self) -> Iterator[Lease]:
        with self._table() as table:
            found = dict(table["nodes"])
        for node, lease in found.items():
            if node != self._node:
                yield Lease(node, IPv4Network(lease["subnet"]), lease["public_ip"])

    def _forget(self, iface: str, lease: Lease) -> None:
        _ip("route", "delete", str(lease.subnet), "via", lease.public_ip, "dev", iface)

    def _write_subnet_env(self, network: IPv4Network, subnet: IPv4Network, mtu: int) -> None:
        path = self._places.subnet_env
        path.parent.mkdir(parents=True, exist_ok=True)
        own = IPv4Interface((subnet[1], subnet.prefixlen))
        draft = path.with_suffix(".new")
        draft.write_text(
            f"FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={own}\n"
            f"FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
        )
        draft.chmod(0o644)
        draft.replace(path)

    @contextmanager
    def _table(self) -> Iterator[dict[str, Any]]:
        """The cluster's table, locked; what is changed in it is written back."""
        path = self._places.leases
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            table = json.loads(text) if text else {"cluster": {}, "nodes": {}}
            before = json.dumps(table)
            yield table
            if json.dumps(table) != before:
                file.truncate(0)
                file.write(json.dumps(table))


def _route_add(iface: str, lease: Lease) -> None:
    """What is there for the same prefix and is another route goes first."""
    for found in _routes(lease.subnet):
        if (found.get("gateway"), found.get("dev")) != (lease.public_ip, iface):
            _say(f"replacing existing route {found} to {lease.subnet}")
            _ip("route", "delete", str(lease.subnet), *_selector(found))
    if not _has_route(iface, lease):
        _add(iface, lease)


def _add(iface: str, lease: Lease) -> None:
    done = _ip("route", "add", str(lease.subnet), "via", lease.public_ip, "dev", iface)
    if done.returncode:
        _say(f"error adding route to {lease.subnet} via {lease.public_ip}: {done.stderr.strip()}")


def _has_route(iface: str, lease: Lease) -> bool:
    return any(
        (found.get("gateway"), found.get("dev")) == (lease.public_ip, iface)
        for found in _routes(lease.subnet)
    )


def _routes(subnet: IPv4Network) -> list[dict[str, object]]:
    found = json.loads(_ip("-json", "route", "show", "exact", str(subnet)).stdout or "[]")
    return list(found)


def _selector(route: Mapping[str, object]) -> list[str]:
    words: list[str] = []
    for key, word in (("gateway", "via"), ("dev", "dev"), ("metric", "metric")):
        if key in route:
            words += [word, str(route[key])]
    return words


def _address_of(iface: str) -> str:
    found = json.loads(_ip("-json", "-4", "address", "show", "dev", iface).stdout or "[]")
    for link in found:
        for address in link.get("addr_info", ()):
            if address.get("scope") == "global":
                return str(address["local"])
    raise NotYetError(f"failed to find IPv4 address for interface {iface}")


def _mtu(iface: str) -> int:
    (link,) = json.loads(_ip("-json", "link", "show", "dev", iface).stdout)
    return int(link["mtu"])


def _masquerade(network: IPv4Network, subnet: IPv4Network) -> None:
    """flannel's rules (pkg/trafficmngr), in the words of nftables."""
    rules = f"""
add table ip standin_flannel
delete table ip standin_flannel
table ip standin_flannel {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {network} ip daddr {network} return
        ip saddr {network} ip daddr != 224.0.0.0/4 masquerade fully-random
        ip saddr != {network} ip daddr {subnet} return
        ip saddr != {network} ip daddr {network} masquerade fully-random
    }}
}}
"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Play k3s until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", required=True)
    parser.add_argument("--role", required=True, choices=("server", "agent"))
    parser.add_argument("--drop-ins", required=True, type=Path)
    parser.add_argument("--subnet-env", required=True, type=Path)
    parser.add_argument("--leases", required=True, type=Path)
    parser.add_argument("--pid", required=True, type=Path)
    given = parser.parse_args()
    places = Places(given.drop_ins, given.subnet_env, given.leases, given.pid)
    command = [sys.executable, "-m", "netns_lab.flannel_standin", *sys.argv[1:]]
    standin = Standin(given.node, given.role == "server", places)
    # Not in the handlers: the cluster's table may be half written then.
    signal.signal(signal.SIGHUP, lambda *_: standin.end())
    signal.signal(signal.SIGTERM, lambda *_: standin.end(for_good=True))
    places.pid.write_text(f"{os.getpid()}\n")
    if standin.run():
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
