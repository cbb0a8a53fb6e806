"""What the other tests of this directory stand on: this kernel has what the lab's own may lack."""

from __future__ import annotations

import pytest

from netns_lab.pytest_plugin import NamespaceFactory
from powernode_agent.wireguard.generic_netlink import has_family


@pytest.mark.parametrize("kind", ["wireguard", "dummy", "veth"])
def test_links(network_namespace: NamespaceFactory, kind: str) -> None:
    network_namespace().run(["ip", "link", "add", "one", "type", kind])


def test_netem(network_namespace: NamespaceFactory) -> None:
    namespace = network_namespace()
    namespace.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "10%"])


def test_the_agent_sees_it() -> None:
    assert has_family("wireguard")
