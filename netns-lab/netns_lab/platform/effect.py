"""What a call of an action may do. Apart from the registry, because the services that actions work
with speak of it as well.
"""

from __future__ import annotations

from enum import Enum


class Effect(Enum):
    """What a call may do at worst. READ changes nothing. DESTRUCTIVE cuts something off, takes
    something away, or decides for an operator: a door that acts for somebody asks him first."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
