"""Networks, and what iBGP and virtual IPs do on them, as tables: pure, from JSON to lines. Columns and
tables that nobody needs are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from powernode_agent.cli.parts import Object, items, number_of, part, text_of
from powernode_agent.cli.table import Column, render_table
from powernode_agent.model.wording import NOT_MEASURED, age_text


def network_table(networks: Sequence[Object], width: int | None, color: bool) -> list[str]:
    """One line for each network; BGP and VIPS where some network has any."""
    columns = [
        Column("NETWORK"), Column("LINK"), Column("ROLE"), Column("MODE"),
        Column("WIREGUARD", optional=True), Column("PEERS"),
    ]  # fmt: skip
    routed = any(number_of(part(each, "bgp"), "total") for each in networks)
    virtual = any(number_of(part(each, "virtual_ips"), "total") for each in networks)
    columns += [Column("BGP")] * routed + [Column("VIPS")] * virtual
    columns.append(Column("STATE", colored=True))
    rows = [
        (
            text_of(network, "name"),
            text_of(network, "link"),
            text_of(network, "role") or "-",
            text_of(network, "routing_mode") or "-",
            text_of(network, "backend") or NOT_MEASURED,
            _peer_counts(part(network, "peers")),
            *([_of_total(part(network, "bgp"), "established")] * routed),
            *([_holding(part(network, "virtual_ips"))] * virtual),
            text_of(network, "state").replace("_", " ") or NOT_MEASURED,
        )
        for network in networks
    ]
    return render_table(columns, rows, width, color)


def routing_tables(document: Object, width: int | None, color: bool) -> list[str]:
    """Sessions and virtual IPs, each under a line of its own; nothing where there are none."""
    lines: list[str] = []
    sessions, virtual_ips = items(document, "bgp_sessions"), items(document, "virtual_ips")
    if sessions:
        columns = (
            Column("BGP"), Column("NETWORK"), Column("STATE", colored=True), Column("UP"),
            Column("RECEIVED", optional=True), Column("SENT", optional=True),
            Column("", optional=True),
        )  # fmt: skip
        rows = [_session_row(session) for session in sessions]
        lines += ["", *render_table(columns, rows, width, color)]
    if virtual_ips:
        titles = (
            Column("VIRTUAL IP"), Column("NETWORK"), Column("STATE", colored=True),
            Column("SINCE"), Column("ANNOUNCED", optional=True), Column("NAME", optional=True),
        )  # fmt: skip
        rows = [_virtual_ip_row(each) for each in virtual_ips]
        lines += ["", *render_table(titles, rows, width, color)]
    return lines


def _session_row(session: Object) -> Sequence[str]:
    uptime = number_of(session, "uptime_s")
    cause = text_of(session, "likely_cause") or text_of(session, "last_reset_reason")
    state = text_of(session, "state")
    return (
        text_of(session, "neighbor"),
        text_of(session, "network"),
        state or NOT_MEASURED,
        "-" if uptime is None else age_text(uptime),
        _count(session, "prefixes_received"),
        _count(session, "prefixes_sent"),
        "" if state == "Established" else cause,
    )


def _virtual_ip_row(virtual_ip: Object) -> Sequence[str]:
    age = number_of(virtual_ip, "age_s")
    announced = virtual_ip.get("announced")
    return (
        text_of(virtual_ip, "address") or text_of(virtual_ip, "id"),
        text_of(virtual_ip, "network"),
        text_of(virtual_ip, "state") or NOT_MEASURED,
        "-" if age is None else age_text(age),
        {True: "yes", False: "no"}.get(announced, "-") if isinstance(announced, bool) else "-",
        text_of(virtual_ip, "name") or "-",
    )


def _count(document: Object, key: str) -> str:
    number = number_of(document, key)
    return "-" if number is None else str(int(number))


def _of_total(counts: Object, key: str) -> str:
    total, number = number_of(counts, "total"), number_of(counts, key)
    if not total:
        return "-"
    return f"{'?' if number is None else int(number)}/{int(total)}"


def _holding(counts: Object) -> str:
    total, number = number_of(counts, "total"), number_of(counts, "holding")
    if not total:
        return "-"
    return NOT_MEASURED if number is None else f"{int(number)} holding"


def _peer_counts(counts: Object) -> str:
    total = number_of(counts, "total")
    unknown = number_of(counts, "not_measured") or 0
    connected = number_of(counts, "connected")
    if total is None or connected is None:
        return NOT_MEASURED
    if total and unknown == total:
        return f"?/{int(total)}"
    # An unmeasured peer is neither connected nor not: the count says how many those are.
    return f"{int(connected)}/{int(total)}" + (f", {int(unknown)} unknown" if unknown else "")
