"""The hub's part as the service runs it: without root, with the two capabilities of its unit.

Says READY when everything is mapped; a line to it, and the mappings go; what went wrong is printed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from portmap_world import HUB4, HUB6, SERVER6, Hub, mapping


async def main(runtime: Path) -> None:
    hub = Hub(runtime)
    await hub.start()
    try:
        kept = mapping("kept", HUB6, SERVER6)
        await hub.bring(kept, mapping("nat64", HUB4, SERVER6))
        fine = not hub.failures and await hub.all_fine()
        print("READY" if fine else f"{hub.failures} {await hub.statuses()}", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await hub.bring(kept)
        print(f"ended {hub.ended} {hub.failures}", flush=True)
    finally:
        await hub.room.purge()
        await hub.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
