"""How far a GPU's pictures may be from the CPU's.

The simulated GPU computes with the CPU's kernels and agrees exactly. A real one may be off by twice what changes on the
CPU, over all cases of the tests, where it rounds as a GPU does: 0.0035 in float32, with what goes into convolutions
rounded to TF32; 0.0075 in float16, and 0.059 in bfloat16.
"""

from contextlib import nullcontext

import torch

BOUNDS = {torch.float32: 0.007, torch.float16: 0.015, torch.bfloat16: 0.12}


def bound(gpu, dtype):
    """For what the fixture ``gpu`` gives."""
    return BOUNDS[dtype] if gpu is nullcontext else 0.0


def difference(ours, theirs):
    """The largest over several pictures; NaN is never within a bound."""
    return torch.stack([(one - other).abs().max() for one, other in zip(ours, theirs, strict=True)]).max().item()
