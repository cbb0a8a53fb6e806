"""The skills and what may run them: the runbook's policies as a table.

    require_approval  puts what it would do in the approval queue; an operator approves, then it runs
    auto_approve      the platform runs it by itself, because it changes nothing (`autonomy`)
    planning_only     says what to do and why; an operator does it
    operator          runs when an operator runs it, and never by itself

`events` are what sensors say when the skill is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlalchemy import func, select

from netns_lab.platform.approvals import ApprovalState
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.phase1_networks import NoArguments
from netns_lab.platform.registry import Action, Effect, action
from netns_lab.platform.virtual_ip_tables import ApprovalRow


class Policy(Enum):
    """Who has to agree before a skill does something."""

    REQUIRE_APPROVAL = "require_approval"
    AUTO_APPROVE = "auto_approve"
    PLANNING_ONLY = "planning_only"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill. `action` is what runs it; `autonomy_action` is what the runbook calls it in policies."""

    name: str
    policy: Policy
    action: str
    description: str
    because: str
    sensor: str = ""
    events: tuple[str, ...] = ()

    @property
    def autonomy_action(self) -> str:
        return f"system.{self.name}"

    def describe(self) -> dict[str, object]:
        """As actions answer it."""
        return {
            "skill": f"system-{self.name}".replace("_", "-"),
            "name": self.name,
            "policy": self.policy.value,
            "action": self.action,
            "description": self.description,
            "sensor": self.sensor or None,
            "events": list(self.events),
        }


SKILLS: Final[tuple[Skill, ...]] = (
    Skill(
        "sdwan_failover",
        Policy.REQUIRE_APPROVAL,
        "sdwan_failover",
        "Emits a hub-promotion plan; without dry_run, puts its first step in the approval queue.",
        "a node that is made a hub carries the traffic of others",
        "sdwan_reachability_sensor",
        ("sdwan.hub_unreachable",),
    ),
    Skill(
        "sdwan_peer_remediate",
        Policy.OPERATOR,
        "sdwan_peer_remediate",
        "Rotates the keys of a peer and forces a new handshake.",
        "it costs no packet, and one at a time runs on a network",
        "sdwan_reachability_sensor",
        ("sdwan.peer_silent",),
    ),
    Skill(
        "sdwan_vip_failover",
        Policy.REQUIRE_APPROVAL,
        "sdwan_vip_failover",
        "Promotes the next failover holder of a virtual IP.",
        "it moves a service to another node",
        "sdwan_vip_reachability_sensor",
        ("sdwan.vip_holder_silent",),
    ),
    Skill(
        "sdwan_bgp_session_remediate",
        Policy.PLANNING_ONLY,
        "sdwan_bgp_session_remediate",
        "Says why a BGP session is down and which vtysh command to run.",
        "operators run the command after they have read why",
    ),
    Skill(
        "sdwan_route_policy_audit",
        Policy.AUTO_APPROVE,
        "system_sdwan_route_policy_audit",
        "Surfaces shadowed firewall rules and inconsistent or shadowed route policy statements.",
        "it only reads",
        "",
        ("sdwan.policy_finding",),
    ),
    Skill(
        "sdwan_user_device_revoke",
        Policy.REQUIRE_APPROVAL,
        "system_sdwan_revoke_user_device",
        "Cuts a user device off at every hub.",
        "it cuts off a user",
    ),
)
BY_NAME: Final[Mapping[str, Skill]] = {skill.name: skill for skill in SKILLS}


def list_policies(context: Context, arguments: NoArguments) -> Answer:
    """Lists which autonomy actions wait for approval, and how many do."""
    counted = context.session.execute(
        select(ApprovalRow.skill, func.count())
        .where(
            ApprovalRow.account_id == context.account_id,
            ApprovalRow.state == ApprovalState.PENDING.value,
        )
        .group_by(ApprovalRow.skill)
    )
    waiting = {skill: count for skill, count in counted}  # noqa: C416 - dict() loses the row's types
    return {
        "policies": [
            {
                "action": skill.autonomy_action,
                "policy": skill.policy.value,
                "because": skill.because,
                "pending_approvals": waiting.get(skill.name, 0),
            }
            for skill in SKILLS
        ]
    }


def list_skills(context: Context, arguments: NoArguments) -> Answer:
    """Lists the skills with their policies, and the sensors' events that each of them answers."""
    return {"skills": [skill.describe() for skill in SKILLS]}


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_list_policies", NoArguments, list_policies, effect=Effect.READ),
    action("system_sdwan_list_skills", NoArguments, list_skills, effect=Effect.READ),
)
