"""What the stand-in for flannel reads and takes, without a kernel."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from netns_lab.flannel_standin import Config, NotYetError, lease_for, read_config

CLUSTER = IPv4Network("10.42.0.0/16")


def test_drop_ins_are_merged_in_the_order_of_their_names(tmp_path: Path) -> None:
    assert read_config(tmp_path) == Config()
    (tmp_path / "50-a.yaml").write_text(
        '# x: y\nflannel-iface: "wg-sdwan-a"\ncluster-cidr: fd42::/56\n'
    )
    (tmp_path / "10-b.yaml").write_text("flannel-iface: eth0\nflannel-backend: host-gw\n")
    (tmp_path / "99-c.txt").write_text("flannel-iface: eth9\n")
    assert read_config(tmp_path) == Config("wg-sdwan-a", "host-gw", "fd42::/56")


def test_a_node_keeps_its_subnet_and_a_new_one_takes_the_lowest_that_is_free() -> None:
    table = {"a": {"subnet": "10.42.0.0/24"}, "c": {"subnet": "10.42.2.0/24"}}
    assert lease_for(table, CLUSTER, "c") == IPv4Network("10.42.2.0/24")
    assert lease_for(table, CLUSTER, "b") == IPv4Network("10.42.1.0/24")
    # One of another cluster is none.
    assert lease_for(table, IPv4Network("10.44.0.0/16"), "a") == IPv4Network("10.44.0.0/24")


def test_a_cluster_that_is_full_takes_nobody() -> None:
    table = {"a": {"subnet": "10.42.0.0/24"}}
    with pytest.raises(NotYetError):
        lease_for(table, IPv4Network("10.42.0.0/24"), "b")
