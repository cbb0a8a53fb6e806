"""The daemon: wiring and lifecycle. Each file is short enough to read in one sitting.

`assembly` puts the rooms together, `service` runs them, `intake` judges what the source brings,
`board` keeps the status, `handlers` answers the command line, `teardown` is `purge`.
"""

from powernode_agent.daemon.enrolling import enrol
from powernode_agent.daemon.service import run
from powernode_agent.daemon.teardown import purge

__all__ = ["enrol", "purge", "run"]
