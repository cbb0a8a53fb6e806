"""The states of the unit tests serve here too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

UNIT = str(Path(__file__).parents[2] / "unit" / "routing")
if UNIT not in sys.path:
    sys.path.insert(0, UNIT)


@pytest.fixture(autouse=True, scope="session")
def _frr() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    if not Path("/usr/lib/frr/bgpd").exists():
        pytest.skip("FRR is not installed (Debian: frr)")
