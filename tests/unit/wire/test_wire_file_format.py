"""Operators' files: what is taken, and what is refused with its place and its expectation."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from wire_states import key, mapping, network, routed, rule, state, tag

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.firewall import FirewallAction, FirewallPolicy
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError
from powernode_agent.wire.decode import decode_state
from powernode_agent.wire.file_format import parse_state

YAML = """
revision: 3
node: {id: node-1, name: edge-1}   # a comment
networks:
  - id: core
    name: "1:20"
    handle: core
    prefix: fd00:abcd:1::/64
    routing_mode: Static
    firewall_policy: {ingress: accept}
    interface:
      peer_id: me
      address: fd00:abcd:1::1
      role: hub
      listenPort: 51820
      key_source: node
      key_generation: 1
      mtu: null
peers:
  - id: p-0
    network_id: core
    name: hub-no
    kind: user-device
    role: PEER_ROLE_SPOKE
    host_address: 'fd00:abcd:1::2'
    endpoint: '[2001:db8::5]:51820'
    persistent_keepalive_seconds: 25
    publicly_reachable: true
"""


def reasons(text: str | bytes) -> list[tuple[str, str, str, str]]:
    with pytest.raises(ModelError) as caught:
        parse_state(text)
    return [(v.resource, v.field, v.value, v.expected) for v in caught.value.violations]


def test_yaml_with_short_names_is_the_message() -> None:
    message = parse_state(YAML)
    decode_state(message)
    assert message.revision == 3
    assert message.networks[0].name == "1:20"
    assert message.networks[0].interface.listen_port == 51820
    assert message.networks[0].interface.key_source == pb.KEY_SOURCE_NODE
    assert message.peers[0].kind == pb.PEER_KIND_USER_DEVICE
    assert message.peers[0].role == pb.PEER_ROLE_SPOKE
    assert message.peers[0].publicly_reachable is True


@pytest.mark.parametrize("proto_names", [True, False])
def test_what_protobuf_writes_as_json_is_read_back(proto_names: bool) -> None:
    message = state()
    message.firewall_rules.add(id="r", created_at_ms=2**60, priority=-3).selector.all = True
    text = json_format.MessageToJson(message, preserving_proto_field_name=proto_names)
    assert parse_state(text) == message
    assert parse_state(text.encode()) == message


FILTER_YAML = """
firewall_tags:
  - {id: tag-1, network_id: core, name: tenant-A, members: [10.1.0.0/16, 'fd00:beef::/48']}
firewall_rules:
  - id: fr-1
    network_id: core
    direction: ingress
    action: accept
    selector: {tag_id: tag-1}
    protocol: tcp
    port_range: {first: 5432, last: 5432}
    priority: -3
    created_at_ms: 1700000000000
    destination_prefixes: ['fd00:abcd:1::100/128']
  - {id: fr-2, network_id: core, direction: both, action: Reject, selector: {all: true},
     protocol: any, created_at_ms: '1700000000001'}
  - {id: fr-3, network_id: core, direction: egress, action: drop, protocol: icmp6,
     selector: {peerId: p-9, peerPrefixes: ['fd00:abcd:1::9/128']}, created_at_ms: 1700000000002}
port_mappings:
  - {id: pm-1, network_id: core, external_address: 203.0.113.5, external_port: 443, protocol: tcp,
     internal_address: 'fd00:abcd:1::2', internal_port: 8443}
"""


def test_rules_tags_and_mappings_as_an_operator_writes_them() -> None:
    text = YAML.replace("ingress: accept", "ingress: drop, egress: reject") + FILTER_YAML
    core = decode_state(parse_state(text)).networks[NetworkId("core")]
    assert core.network.firewall_policy == FirewallPolicy(
        FirewallAction.DROP, FirewallAction.REJECT
    )
    rules = list(core.firewall_rules.values())
    assert [str(each.port_range) for each in rules] == ["5432", "None", "None"]
    assert [each.action.value for each in rules] == ["accept", "reject", "drop"]
    assert [each.direction.value for each in rules] == ["ingress", "both", "egress"]
    assert [each.created_at_ms - 1_700_000_000_000 for each in rules] == [0, 1, 2]
    assert [len(each.members) for each in core.firewall_tags.values()] == [2]
    (mapped,) = core.port_mappings.values()
    assert (mapped.external, mapped.internal) == ("tcp 203.0.113.5:443", "[fd00:abcd:1::2]:8443")


def test_a_filtered_state_survives_the_way_through_a_file() -> None:
    message = state(
        networks=[network(hub=True)],
        tags=[tag(0, []), tag(1, ["10.1.0.0/16"])],
        rules=[rule(i) for i in range(8)],
        mappings=[mapping(0), mapping(1)],
    )
    message.networks[0].firewall_policy.ingress = 2  # type: ignore[assignment]
    yaml = pytest.importorskip("yaml")
    for proto_names in (True, False):
        text = json_format.MessageToJson(message, preserving_proto_field_name=proto_names)
        for written in (text, yaml.safe_dump(json.loads(text))):
            assert parse_state(written) == message
            assert decode_state(parse_state(written)) == decode_state(message)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("protocol: icmp6", "protocol: icmp", "protocol"),
        ("port_range: {first: 5432, last: 5432}", "port_range: 5432", "port_range"),
        ("first: 5432", "first: -1", "port_range.first"),
        ("{all: true}", "{all: yes}", "selector.all"),
        ("{tag_id: tag-1}", "{tag: tag-1}", "selector.tag"),
        ("members: [10.1.0.0/16", "members: [10", "members[0]"),
        ("external_port: 443", "external_port: https", "external_port"),
    ],
)
def test_a_slip_in_a_rule_is_named(before: str, after: str, field: str) -> None:
    assert before in FILTER_YAML
    found = reasons(YAML + FILTER_YAML.replace(before, after, 1))
    assert [each[1] for each in found] == [field]


def test_violations_name_resource_field_value_and_expectation() -> None:
    text = YAML + (
        "  - {id: p-1, nmae: x, persistent_keepalive_seconds: -1, role: hubby, name: 13,"
        " permitted_prefixes: x, publicly_reachable: yes}\n"
        "  - 7\n"
    )
    found = {
        (resource, field): (value, expected) for resource, field, value, expected in reasons(text)
    }
    here = "peers[1] (p-1)"
    assert found[here, "nmae"][1].startswith("one of: id, network_id, name")
    assert found[here, "persistent_keepalive_seconds"] == (
        "-1",
        "a whole number from 0 to 4294967295",
    )
    assert found[here, "role"] == ("'hubby'", "hub or spoke")
    assert found[here, "name"] == ("13", "text (put it in quotes)")
    assert found[here, "permitted_prefixes"][1] == "a list"
    assert found[here, "publicly_reachable"] == ("'yes'", "true or false")
    assert found["peers[2]", "content"] == ("'(a number)'", "the fields of a Peer")
    assert len(found) == 7


def test_nested_fields_are_named_with_their_way() -> None:
    text = YAML.replace("listenPort: 51820", "listenPort: many").replace("accept", "perhaps")
    assert {(r, f) for r, f, _, _ in reasons(text)} == {
        ("networks[0] (core)", "interface.listen_port"),
        ("networks[0] (core)", "firewall_policy.ingress"),
    }


@pytest.mark.parametrize(
    "line",
    [
        "private_key: [SECRET]",
        "privat_key: SECRET",
        "preshared_key: {a: SECRET}",
        "private_key: SECRET: x",
        "private_key: 'SECRET",
        "private_key: &SECRET\n      x: *SECRET",
        "private_key: SECRET\n      private_key: SECRET",
    ],
)
def test_no_refusal_shows_a_key(line: str) -> None:
    secret = key("secret")
    text = YAML.replace("mtu: null", line.replace("SECRET", secret))
    if "&" in line:
        text = text.replace(secret, "alias")
    assert secret not in str(reasons(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x", "the value itself"),
        ("a: 1\na: 2", "each key once"),
        ('{"revision": 1, "revision": 2}', "each key once"),
        ('{"revision": 1, "node": {"id": "a", "id": "b"}}', "each key once"),
        ("revision: 1\n---\nrevision: 2", "one document"),
        ("node: !!python/object/apply:os.system [ls]", "no tags"),
        ("[" * 1000, "at most 32 levels"),
        ('{"a":' * 100_000, "at most 32 levels"),
        ("revision: [", "YAML"),
        ("{'revision': 1}", "JSON"),
        ('{"revision": NaN}', "JSON knows"),
        ("? [a]\n: b", "the name of a field"),
        ("x: \x01", "printable text"),
        (b"\xff\xfe", "UTF-8"),
        ("", "the fields of a DesiredState"),
        ("- a", "the fields of a DesiredState"),
        ('{"node": {"id": "\\ud800"}}', "text"),
        ("revision: 1.5", "a whole number"),
        ("revision: true", "a whole number"),
        ("revision: 18446744073709551616", "a whole number"),
        ("revision: 1\nRevision: 2", "one of: revision"),
        ('{"node": {"accountId": "a", "account_id": "b"}}', "given once"),
        ("firewall_rules: [{selector: {all: true, cidr: '::/0'}}]", "given once"),
    ],
)
def test_text_that_is_no_state_is_refused(text: str | bytes, expected: str) -> None:
    assert any(expected in found[3] for found in reasons(text))


def test_ten_megabytes_are_refused_before_they_are_read() -> None:
    (found,) = reasons("!" * (10 * 1024 * 1024 + 1))
    assert found[1:] == ("size", "'10485761 bytes'", "at most 10485760 bytes")


def test_a_bomb_of_aliases_costs_nothing() -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (found,) = reasons("\n".join(lines))
    assert found[3] == "the value itself"


def test_every_field_of_the_contract_can_be_written() -> None:
    """A field of a type that the reader has no case for would end in a KeyError on somebody's node."""
    readable = {
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_MESSAGE,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
    }

    waiting = [pb.DesiredState.DESCRIPTOR]
    while waiting:
        for field in waiting.pop().fields:
            assert field.type in readable, field.full_name
            if field.message_type is not None:
                waiting.append(field.message_type)


def test_what_routes_can_be_written_with_short_names() -> None:
    yaml = pytest.importorskip("yaml")
    wanted = routed()
    tree = json.loads(json_format.MessageToJson(wanted, preserving_proto_field_name=True))
    tree["networks"][0]["routing_mode"] = "ibgp"
    for policy, direction in zip(tree["route_policies"], ("import", "export"), strict=True):
        policy["direction"] = direction
        for statement in policy["statements"]:
            statement["action"] = statement["action"].rpartition("_")[2].lower()
    read = parse_state(yaml.safe_dump(tree))
    assert read == wanted
    # An absent number is not a zero: only what is written is set.
    assert read.route_policies[0].statements[2].set.HasField("med")
    assert not read.route_policies[0].statements[1].set.HasField("med")
    assert decode_state(read) == decode_state(wanted)


def test_a_bad_line_of_a_policy_is_named_with_its_way() -> None:
    text = YAML + (
        "route_policies:\n"
        "  - {id: rp-1, direction: sideways, statements: [{seq: ten, match: {asn: 1}}]}\n"
    )
    assert {(r, f) for r, f, _, _ in reasons(text)} >= {
        ("route_policies[0] (rp-1)", "direction"),
        ("route_policies[0] (rp-1)", "statements[0].seq"),
        ("route_policies[0] (rp-1)", "statements[0].match.asn"),
    }


def test_json_and_yaml_agree() -> None:
    tree = json.loads(json_format.MessageToJson(state(), preserving_proto_field_name=True))
    yaml = pytest.importorskip("yaml")
    assert parse_state(yaml.safe_dump(tree)) == state()
