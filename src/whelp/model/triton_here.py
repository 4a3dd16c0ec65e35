"""Whether kernels of our own can run on a GPU of this machine: they are written in Triton, which comes with builds for GPUs."""

import importlib.util

HAS_TRITON = importlib.util.find_spec("triton") is not None
