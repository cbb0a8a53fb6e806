"""Our links: alias, MTU, addresses, routes and sysctls. WireGuard itself is another room's."""
