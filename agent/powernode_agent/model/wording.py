"""Ages, sizes and round trips in the few characters a table has. Pure, standard library only."""

from __future__ import annotations

NOT_MEASURED = "not measured"


def age_text(seconds: float) -> str:
    """41s, 6m 12s, 3h 5m, 12d 4h: two units at most, the second one only while it says something."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return _two(whole // 60, "m", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "m")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def size_text(count: float) -> str:
    """0, 980, 2.1K, 310M, 1.2G: powers of 1,000, as network people count."""
    value = float(count)
    for unit in ("", "K", "M", "G", "T"):
        # 999.5 would be printed as 1000 of this unit.
        if value < 999.5:
            return f"{value:.1f}{unit}" if unit and value < 99.95 else f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}P"


def duration_text(seconds: float) -> str:
    """0.4ms, 41ms, 1.2s: of round trips and passes."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit} {small}{small_unit}" if small else f"{large}{large_unit}"
