"""Weights by recipe: every tensor is a function of its key and a salt (see tests/data/golden/README.md)."""

import hashlib
import math

import numpy as np
import torch


def recipe_tensor(key, shape, salt):
    value = recipe_input(key, shape, salt)
    if len(shape) >= 2:
        return value / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * value if key.endswith("weight") else 0.1 * value


def recipe_input(key, shape, salt):
    seed = int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32))


def recipe_state_dict(shapes, salt="golden"):
    return {key: recipe_tensor(key, shape, salt) for key, shape in shapes.items()}
