"""The lab: an internet of network namespaces, one real agent a node, and the reference platform."""
