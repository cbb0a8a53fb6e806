"""The filter on our links, compiled from the rules that this node holds. Pure.

Order is the rules' own (peer > tag > cidr > all, then priority, then age), and the first that matches
decides. Kernel work is kept apart from the number of rules: `ports` turns a list of rules into
disjoint port ranges, `addresses` into disjoint address ranges, so that a packet looks up where it
belongs instead of passing every rule; tags are named sets that change element by element. `nftables`
applies the result.
"""
