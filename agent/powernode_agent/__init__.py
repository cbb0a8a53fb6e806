"""The node-side daemon of the Powernode SD-WAN; agent/ARCHITECTURE.md is the map of its rooms."""

from typing import Final

__version__: Final = "0.1.0"
