"""The link to the platform: who we are to it, what it wants of us, and what we tell it.

Enrolment, mutual TLS, the watch, the reports, renewal of the certificate, and a file in place of the
platform. Nothing here knows what a desired state means: raw messages go to a `Sink`, which judges them.
"""

import os

# gRPC's core writes to stderr on its own ("Handshake failed ..." at each attempt of a night's outage),
# past structlog and its levels. What it knows comes back as the status of our calls anyway. It reads
# this once, when it starts, so it has to be set before anything of this room loads it.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
