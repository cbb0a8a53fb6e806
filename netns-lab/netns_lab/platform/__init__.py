"""The reference platform: the runbook's actions, for real, over the agents' own gRPC contract.

It keeps an operator's intent in SQLite, compiles it into each node's desired state, pushes what
changed, and listens to what the nodes report. Of the agent it shares the generated stubs and nothing
else, so that a misunderstanding of the contract shows up here and not on a customer's node.

The order of the rooms, from the pure inside to the edge:

- `filter_intent`, `intent`, `compile_filter`, `compile`, `revisions`, `allocation`, `reachability`,
  `standing`, `hubs`, `rotation`, `peer_status`, `problems`, `argument_errors`, `report_merge`,
  `virtual_ip_intent`, `compile_virtual_ip`, `path_messages`, `virtual_ip_move`, `virtual_ip_scores`,
  `virtual_ip_sight`, `virtual_ip_nearest`, `virtual_ip_problems`, `routing_intent`, `compile_routing`,
  `policy_intent`, `compile_policies`, `policy_audit`, `as_path_rules`,
  `device_intent`, `compile_devices`, `device_config`, `pod_intent`, `compile_pods`: pure
  functions over frozen values;
- `tables`, `database`, `queries`, `filter_rows`, `revision_rows`, `rotation_rows`, `virtual_ip_tables`,
  `virtual_ip_rows`, `virtual_ip_move_rows`, `routing_rows`, `route_policy_tables`, `route_policy_rows`,
  `device_tables`, `device_rows`, `cluster_tables`, `cluster_rows`, `approvals`: SQLite;
- `registry`, `context`, `phase1_networks`, `phase1_clusters`, `pod_rules`, `phase2_peers`, `underlay`,
  `peer_rules`, `lan_rules`, `peer_answers`,
  `phase3_virtual_ips`, `phase3_failover`, `virtual_ip_rules`, `virtual_ip_answers`, `approval_actions`,
  `phase4_port_mappings`, `phase5_firewall`, `firewall_rules`, `firewall_answers`, `phase5_tags`,
  `firewall_tags`, `firewall_audit`, `filter_reports`, `phase6_route_policies`, `route_policy_rules`,
  `route_policy_answers`, `phase7_user_devices`, `device_rules`, `device_answers`,
  `phase8_lan_subnets`, `phase8_ibgp`,
  `bgp_answers`, `bgp_diagnosis`, `skills`, `hub_promotion`, `policies`, `event_actions`, `catalogue`,
  `audit_log`, `caller`, `effect`, `health_codes` (pure), `health_findings`, `health_actions`, `lab`:
  the actions;
- `feeds`, `publisher`, `trials`, `rotations`, `sensor`, `virtual_ip_memory`, `virtual_ip_moves`,
  `virtual_ip_sensor`, `pod_reports`, `event_log`, `observer`, `autonomy`, `core`: what the platform
  remembers while it runs;
- `authority`, `services`, `control`, `http_pages`, `http_bootstrap`, `http_app`, `http_server`,
  `server`: certificates, gRPC, the control socket, HTTPS, the process.
"""
