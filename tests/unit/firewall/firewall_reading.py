"""Reads the compiler's blocks as a packet would go through them, range by range and piece by piece.

It asserts on the way what the kernel takes for granted: ranges and pieces that are disjoint and in
order, leaves in which nothing stands after what decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from tests.unit.firewall.firewall_reference import ICMP6, TCP, UDP, Packet, Tags

from powernode_agent.firewall.addresses import AddressRange
from powernode_agent.firewall.blocks import AddressBlock, Block
from powernode_agent.firewall.ports import Leaf, Outcome, Piece, PortTable
from powernode_agent.model.firewall import FirewallAction


def read(blocks: Iterable[Block], tags: Tags, packet: Packet) -> FirewallAction | None:
    """What the blocks decide; None: they leave it to the policy."""
    for block in blocks:
        table = _table(block, packet)
        if table is not None and (found := _in_table(table, tags, packet)) is not None:
            return found
    return None


def check_shape(blocks: Iterable[Block]) -> None:
    """Everything that must hold whatever the packet."""
    for block in blocks:
        if isinstance(block, AddressBlock):
            for version, ranges in block.ranges.items():
                _check_ranges(ranges, 2 ** (128 if version == 6 else 32) - 1)
                assert all(each.rules in block.tables for each in ranges)
            tables: Iterable[PortTable] = block.tables.values()
        else:
            tables = (block.table,)
        for table in tables:
            for pieces in (table.tcp, table.udp):
                _check_pieces(pieces)
            for leaf in (table.icmp6, table.other):
                _check_leaf(leaf)


def _check_ranges(ranges: Iterable[AddressRange], last: int) -> None:
    for each in ranges:
        assert 0 <= each.first <= each.last <= last
        assert each.rules == tuple(sorted(set(each.rules)))
    for one, two in pairwise(ranges):
        assert one.last < two.first


def _check_pieces(pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        assert 0 <= piece.first <= piece.last <= 65535
        _check_leaf(piece.leaf)
    for one, two in pairwise(pieces):
        assert one.last < two.first
        assert one.last + 1 < two.first or one.leaf != two.leaf, "neighbours could be one piece"


def _check_leaf(leaf: Leaf) -> None:
    assert not any(outcome.decides for outcome in leaf[:-1])


def _table(block: Block, packet: Packet) -> PortTable | None:
    if not isinstance(block, AddressBlock):
        return block.table
    number = int(packet.far_end)
    for each in block.ranges[packet.far_end.version]:
        if each.first <= number <= each.last:
            return block.tables[each.rules]
    return None


def _in_table(table: PortTable, tags: Tags, packet: Packet) -> FirewallAction | None:
    found = _in_leaf(_own_leaf(table, packet), tags, packet)
    # The kernel shows it `other` as well, which must not say anything new.
    afterwards = _in_leaf(table.other, tags, packet)
    assert found is not None or afterwards is None
    return found


def _own_leaf(table: PortTable, packet: Packet) -> Leaf:
    if packet.protocol in (TCP, UDP):
        assert packet.port is not None
        for piece in table.tcp if packet.protocol == TCP else table.udp:
            if piece.first <= packet.port <= piece.last:
                return piece.leaf
        return ()
    if packet.protocol == ICMP6 and packet.source.version == 6:
        return table.icmp6
    return table.other


def _in_leaf(leaf: Leaf, tags: Tags, packet: Packet) -> FirewallAction | None:
    for outcome in leaf:
        if _meets(outcome, tags, packet):
            return outcome.action
    return None


def _meets(outcome: Outcome, tags: Tags, packet: Packet) -> bool:
    if outcome.tag is not None:
        tag = tags.get(outcome.tag)
        if tag is None or not any(packet.far_end in member for member in tag.members):
            return False
    return not outcome.destinations or any(
        packet.destination in prefix for prefix in outcome.destinations
    )
