import pytest
import torch
from torch.nn import functional as F

from supir_core.sdxl.attention import online_attention, whole_attention
from supir_core.sdxl.config import VAEConfig
from supir_core.sdxl.vae import VAE, Encoder, from_unit, to_unit

CONFIG = VAEConfig(widths=(32, 64, 64), blocks=1, latent_channels=4, stem=32)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(CONFIG).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(72, 40), (8, 120), (64, 64)])
@pytest.mark.parametrize("tile", [8, 33])
def test_bands_give_what_one_piece_gives(vae, size, tile):
    image = torch.rand(2, 3, *size) * 2 - 1
    whole = vae.encode(image)
    assert torch.allclose(vae.encode(image, side=tile), whole, atol=1e-5 * whole.abs().max())
    decoded = vae.decode(whole)
    assert torch.allclose(vae.decode(whole, side=tile), decoded, atol=2e-5 * decoded.abs().max())


def test_bands_serve_another_encoder_too(vae):
    torch.manual_seed(5)
    other = Encoder(CONFIG).requires_grad_(False)
    image = torch.rand(1, 3, 48, 48)
    whole = vae.encode(image, other)
    assert not torch.allclose(whole, vae.encode(image), atol=0.1 * whole.abs().max())
    assert torch.allclose(vae.encode(image, other, side=16), whole, atol=1e-5 * whole.abs().max())


def test_bands_work_in_bfloat16(vae):
    half = VAE(CONFIG).bfloat16().requires_grad_(False)
    half.load_state_dict(vae.state_dict())
    image = torch.rand(1, 3, 48, 40, dtype=torch.bfloat16) * 2 - 1
    whole, exact = half.encode(image).float(), vae.encode(image.float())
    banded = half.encode(image, side=16).float()
    assert (banded - exact).norm() < 2 * (whole - exact).norm()  # no further off than bfloat16 itself


def test_attention_in_pieces_is_attention():
    q, k, v = (torch.randn(2, 8, 6, 5) for _ in range(3))
    whole = torch.softmax(torch.einsum("bchw,bcij->bhwij", q, k).flatten(3) / 8**0.5, -1)
    expected = torch.einsum("bhwn,bcn->bchw", whole, v.flatten(2))
    pieces = ((k[:, :, i : i + 2], v[:, :, i : i + 2]) for i in range(0, 6, 2))
    assert torch.allclose(online_attention(q, pieces), expected, atol=1e-5)


def test_no_kernel_gets_columns_for_which_it_writes_all_scores_down(vae, monkeypatch):
    """PyTorch's kernels that need little memory take queries, keys and values only as rows."""
    steps = []
    attend = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: steps.extend(qkv) or attend(*qkv))
    vae.decode(vae.encode(torch.zeros(1, 3, 32, 48)))
    whole_attention(*(torch.zeros(1, 8, 6, 5) for _ in range(3)))
    assert len(steps) == 9 and all(tensor.stride(-1) == 1 for tensor in steps)


def test_a_side_that_is_no_multiple_of_eight_is_refused(vae):
    with pytest.raises(ValueError, match="multiples of 8, got 41x40"):
        vae.encode(torch.zeros(1, 3, 40, 41))


def test_units_there_and_back():
    image = torch.rand(1, 3, 4, 4)
    assert torch.allclose(to_unit(from_unit(image)), image, atol=1e-6)
    assert to_unit(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]
