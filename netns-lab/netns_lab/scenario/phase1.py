"""Phase 1 of the runbook: create an overlay network, and be told what is wrong with a bad one."""

from __future__ import annotations

from netns_lab.errors import ActionError
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect

BAD_NETWORKS: tuple[tuple[dict[str, object], str], ...] = (
    ({"name": "x", "prefix": "fd00:abcd:1::/48", "routing_mode": "static"}, "prefix"),
    ({"name": "x", "prefix": "2001:db8::/64", "routing_mode": "static"}, "prefix"),
    ({"name": "x", "routing_mode": "rip"}, "routing_mode"),
    ({"name": "x", "routing_mode": "static", "colour": "red"}, "colour"),
)


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps of phase 1."""

    def create() -> None:
        answer = stage.call(
            "system_sdwan_create_network",
            name="tokyo-edge",
            description="CDN edge fabric",
            prefix="fd00:abcd:1::/64",
            routing_mode="static",
            pod_subnet_prefix="10.42.0.0/16",
        )
        stage.network_id = text(answer, "network", "id")
        stage.handle = text(answer, "network", "handle")
        expect(text(answer, "network", "status") == "active", "the network is active", answer)
        teller.evidence(
            f"network {stage.network_id}: {text(answer, 'network', 'prefix')}, link {stage.link}"
        )

    def refused() -> None:
        rows = []
        cases: list[tuple[dict[str, object], str]] = [
            *BAD_NETWORKS,
            ({"name": "x", "routing_mode": "static", "prefix": "fd00:abcd:1::/64"}, "prefix"),
            (
                {"name": "x", "routing_mode": "static", "pod_subnet_prefix": "10.42.128.0/17"},
                "pod_subnet_prefix",
            ),
        ]
        for arguments, field in cases:
            try:
                stage.call("system_sdwan_create_network", **arguments)
            except ActionError as error:
                expect(error.field == field, f"the error names {field}", error.field)
                rows.append((error.field, error.rule))
            else:
                expect(False, f"a network with a bad {field} is refused", arguments)
        teller.table(("FIELD", "RULE"), rows)
        networks = stage.call("system_sdwan_list_networks")["networks"]
        expect(isinstance(networks, list) and len(networks) == 1, "nothing was created", networks)

    return [
        Step("create network tokyo-edge", create),
        Step("bad networks are refused, by field and rule, and nothing is created", refused),
    ]
