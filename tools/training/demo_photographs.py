"""The photographs that the demo weights learn from.

They come with scikit-image, scikit-learn and matplotlib, or are fetched once: SciPy's raccoon, and the 24 of Kodak's Photo
CD sampler, the usual test pictures of compression, which Kodak, as their host understands, released for unrestricted use.
The astronaut and the cat (chelsea) are held out: nothing here may return them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from supir_core.files.convert import to_tensor

from .demo_weights import CAPTIONS

HELD_OUT = ("astronaut", "chelsea")
KODAK = (
    "https://raw.githubusercontent.com/MohamedBakrAli/Kodak-Lossless-True-Color-Image-Suite/"
    "dd2e1105fe8d9afe1120cd7e4c0e5e41f509a81b/"
)


def photographs() -> dict[str, Tensor]:
    """All photographs for training, by name, ``(1, 3, H, W)`` in [0, 1]; up to a slash the name is its caption's."""
    from matplotlib.cbook import get_sample_data
    from scipy import datasets
    from skimage import data
    from sklearn.datasets import load_sample_image

    others = ("motorcycle", "china", "flower", "hopper", "raccoon", "kodak", "drawn")
    simple = [name for name in CAPTIONS if name not in others]
    loaders: dict[str, Callable[[], np.ndarray]] = {name: getattr(data, name) for name in simple}
    loaders["motorcycle"] = lambda: data.stereo_motorcycle()[0]
    loaders["china"] = lambda: load_sample_image("china.jpg")
    loaders["flower"] = lambda: load_sample_image("flower.jpg")
    loaders["hopper"] = lambda: np.asarray(Image.open(get_sample_data("grace_hopper.jpg")))
    loaders["raccoon"] = datasets.face
    assert not set(loaders) & set(HELD_OUT)
    pictures = {name: Image.fromarray(load()) for name, load in loaders.items()}
    return {name: to_tensor(picture)[:, :3] for name, picture in (pictures | kodak()).items()}


def kodak() -> dict[str, Image.Image]:
    """Kodak's photographs, 768 by 512 pixels, fetched to pooch's cache and checked."""
    import pooch

    files = pooch.create(path=pooch.os_cache("supir-demo"), base_url=KODAK)
    files.load_registry(Path(__file__).with_name("kodak_sha256.txt"))
    return {f"kodak/{name}": Image.open(files.fetch(name)) for name in files.registry}
