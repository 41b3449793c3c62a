"""Write the numbers that ``supir doctor`` checks a device by.

python -m tools.training.doctor_numbers
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from supir_core.command.demo import load_demo_model
from supir_core.command.doctor import CHECK_FILE, computed


def main() -> None:
    """Run the demo networks on the CPU in float32."""
    torch.manual_seed(0)
    model = load_demo_model("cpu", torch.float32)
    numbers = {
        "picture": torch.rand(1, 3, 64, 96),
        "z_lq": torch.randn(1, 4, 8, 12),
        "x": torch.randn(1, 4, 8, 12) * 2,
    }
    save_file(numbers | {name: value.contiguous() for name, value in computed(model, numbers)}, CHECK_FILE)


if __name__ == "__main__":
    main()
