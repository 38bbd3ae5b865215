"""The virtual board: the generated accelerator in simulation behind PYNQ.remote's services."""

import os

# gRPC's handlers around a fork wait for its threads, which the child does not have: once in some
# thousand forks it stood still or ended by a signal. The children of this program use no gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
