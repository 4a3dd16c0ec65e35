"""Whether kernels of our own can run on a GPU here: they are written in Triton, which comes with builds for NVIDIA's GPUs."""

import importlib.util

import torch

HAS_TRITON = torch.version.cuda is not None and importlib.util.find_spec("triton") is not None
