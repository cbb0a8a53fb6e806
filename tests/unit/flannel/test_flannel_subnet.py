"""subnet.env as flannel writes it, and as nobody should believe it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from powernode_agent.flannel.subnet import NOT_MEASURED, Subnet, SubnetFile, inside

GOOD = (
    "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_IPV6_NETWORK=fd42::/56\n"
    "FLANNEL_IPV6_SUBNET=fd42:0:0:3::1/64\nFLANNEL_MTU=1420\nFLANNEL_IPMASQ=true\n"
)


def test_both_families(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(GOOD)
    file = SubnetFile(path)
    assert file.read(4) == Subnet(ip_network("10.42.0.0/16"), ip_network("10.42.3.0/24"))
    assert file.read(6) == Subnet(ip_network("fd42::/56"), ip_network("fd42:0:0:3::/64"))


def test_it_is_read_again_when_it_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    file = SubnetFile(path)
    assert file.read(4) == NOT_MEASURED
    path.write_text(GOOD)
    assert file.read(4).own == ip_network("10.42.3.0/24")
    other = tmp_path / "new"
    other.write_text(GOOD.replace("10.42.3.1", "10.42.4.1"))
    other.replace(path)
    assert file.read(4).own == ip_network("10.42.4.0/24")
    path.unlink()
    assert file.read(4) == NOT_MEASURED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FLANNEL_SUBNET=\n",
        "FLANNEL_SUBNET\n",
        "FLANNEL_SUBNET=10.42.3.1/33\n",
        "FLANNEL_SUBNET=banana\n",
        "FLANNEL_SUBNET=fd42::1/64\n",
        "FLANNEL_SUBNET=10.42.3.1/24,10.43.3.1/24\n",
        "FLANNEL_SUBNET=" + "9" * 5000,
        "\x00\xff",
    ],
)
def test_what_cannot_be_read_is_not_measured(tmp_path: Path, text: str) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(text, encoding="latin-1")
    assert SubnetFile(path).read(4).own is None


def test_a_directory_in_its_place_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "subnet.env").mkdir()
    assert SubnetFile(tmp_path / "subnet.env").read(4) == NOT_MEASURED


@pytest.mark.parametrize(
    ("own", "is_inside"),
    [
        ("10.42.3.0/24", True),
        ("10.42.0.0/16", False),
        ("10.0.0.0/8", False),
        ("10.43.3.0/24", False),
        ("fd42::/64", False),
    ],
)
def test_only_a_part_of_the_clusters_prefix_is_a_nodes(own: str, is_inside: bool) -> None:
    found = inside(ip_network(own), ip_network("10.42.0.0/16"))
    assert found == (ip_network(own) if is_inside else None)
