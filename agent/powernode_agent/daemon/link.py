"""Where desired state comes from, as configured: the platform, or a file."""

from __future__ import annotations

from dataclasses import dataclass

from powernode_agent import __version__
from powernode_agent.config import Settings
from powernode_agent.daemon.enrolling import enrolment_point
from powernode_agent.platform.channel import agent_channel
from powernode_agent.platform.clock import SystemClock
from powernode_agent.platform.file_source import FileSource
from powernode_agent.platform.identity import IdentityFile
from powernode_agent.platform.link import Link
from powernode_agent.platform.platform_source import PlatformSource
from powernode_agent.platform.report import Reporter, ReportPace
from powernode_agent.platform.source import Source
from powernode_agent.wire.encode import StatusEncoder
from powernode_agent.wire.file_format import parse_state


@dataclass(frozen=True, slots=True)
class PlatformLink:
    """A source, and whom to report to: nobody, where a file is the source. `words` for operators."""

    source: Source
    reporter: Reporter | None
    words: str


def source_of(settings: Settings, identities: IdentityFile) -> PlatformLink:
    """The source that the settings name."""
    clock = SystemClock()
    file = settings.node.desired_state_file
    if file is not None:
        return PlatformLink(FileSource(file, parse_state, clock), None, f"file {file}")
    link = Link(agent_channel)
    return PlatformLink(
        PlatformSource(link, identities, enrolment_point(settings), clock, __version__),
        Reporter(link, StatusEncoder(), clock, ReportPace(interval=settings.report.interval_s)),
        "platform",
    )
