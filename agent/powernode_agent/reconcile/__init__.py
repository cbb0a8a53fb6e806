"""The engine: from triggers to a kernel that agrees with the desired state, one pass at a time.

A pass compiles, observes what it has reason to doubt, plans and applies. Errors stay with the network
they belong to; a pass that finds nothing to do writes nothing.
"""
