"""Tests of this directory take a kernel with WireGuard, netem and dummy links: `make test-kernel` boots
one, and what is missing in it fails them. Elsewhere each is skipped, saying so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

# Where pytest puts the helpers of that directory when it collects tests there.
sys.path.append(str(Path(__file__).parents[1] / "netns/agent"))


DEMAND = "NETNS_LAB_DEMAND_KERNEL"
"""Set by run.py in its guest."""


@cache
def _missing() -> str:
    """Why these tests cannot run here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    # A host that never ran `make test-kernel` may have no kmod either.
    modprobe = shutil.which("modprobe")
    if modprobe is None:
        return "no modprobe to load WireGuard with: make test-kernel"
    done = subprocess.run([modprobe, "-q", "-a", "wireguard", "sch_netem", "dummy"], check=False)
    return "" if done.returncode == 0 else "this kernel has no WireGuard: make test-kernel"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "machine" in item.path.parts:
        return  # about the machine from outside, on any kernel
    if reason := _missing():
        if DEMAND in os.environ:
            pytest.fail(f"{reason}, and {DEMAND} says that it is there")
        pytest.skip(reason)
