"""How far a GPU's pictures may be from the CPU's.

The simulated GPU computes with the CPU's kernels and agrees exactly. A real one rounds otherwise, in float32 as far as in
float16, for convolutions use TF32; the bounds for it are twice what rounding to float16 and to bfloat16 changes on the
CPU, measured over all cases of the tests: 0.0075 and 0.059.
"""

from contextlib import nullcontext

import torch

BOUNDS = {torch.float32: 0.015, torch.float16: 0.015, torch.bfloat16: 0.12}


def bound(gpu, dtype):
    """For what the fixture ``gpu`` gives."""
    return BOUNDS[dtype] if gpu is nullcontext else 0.0


def difference(ours, theirs):
    """The largest over several pictures; NaN is never within a bound."""
    return torch.stack([(one - other).abs().max() for one, other in zip(ours, theirs, strict=True)]).max().item()
