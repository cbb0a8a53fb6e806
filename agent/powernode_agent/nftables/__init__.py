"""Our one nftables table: composed of the rooms' fragments, compared, and applied in one transaction.

A floor that rooms stand on, like `netlink`: it knows sets, maps and chains, and nothing of rules or
mappings. It remembers what it wrote and writes only what differs; who else wrote to the table is told
by the kernel's notifications, so that nothing is read again to find out. Other tables are never
touched: no command names any but ours, and none flushes the ruleset.
"""
