"""ComfyUI's caches of steps, EasyCache and LazyCache, with SUPIR in tiles: fewer calls, nearly the same picture."""

from functools import partial

import pytest
import torch

from supir_core.evaluation.metrics import psnr

from .small import module
from .small_instantir import SmallInstant

STEPS, TILES = 16, 4


class Scene:
    """The demo's photograph at 1.5 times its size, four tiles of 128 pixels, to be sampled as the nodes do."""

    def __init__(self, pack, run):
        self.pack, self.run = pack, run
        self.base, clip, self.vae, self.weights, image = run("SupirDemoLoader")
        encoded = run(
            "SupirEncode",
            vae=self.vae,
            image=image,
            scale=1.5,
            supir_model=self.weights,
            min_side=64,
            vae_tile=0,
        )
        self.z_lq, self.z_center, _, _, self.empty = encoded
        words = {"positive_words": "", "negative_words": "", "caption": "", "line_per_tile": False}
        self.prompts = run("SupirConditioning", clip=clip, **words)

    def supir(self, model):
        strength = {"strength_start": 1.0, "strength_end": 1.0}
        (model,) = self.run("SupirDenoiser", model=model, supir_model=self.weights, z_lq=self.z_lq, **strength)
        guided = {"cfg_start": 1.0, "cfg_end": 2.0, "restoration_scale": 4.0, "z_center": self.z_center}
        return self.run("SupirGuidance", model=model, **guided)[0]

    def tiles(self, model, **more):
        given = {"tile": 128, "overlap": 64, "blend": "smooth", "shifting": False, "tiles_per_call": 1, **more}
        return self.run("SupirTiles", model=model, **given)[0]

    @torch.inference_mode()
    def sample(self, *patches):
        """The picture, and how often the UNet and the adaptor were called."""
        import comfy.samplers
        from comfy.patcher_extension import WrappersMP

        model = self.base
        for patch in patches:
            model = patch(model)
        calls = {"unet": 0, "adaptor": 0}

        def count(executor, *given, **more):
            calls["unet"] += 1
            return executor(*given, **more)

        model = model.clone()
        model.add_wrapper(WrappersMP.DIFFUSION_MODEL, count)
        sampling = module(self.pack, "nodes.sampling")
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*self.prompts)
        noise = torch.randn(self.empty["samples"].shape, generator=torch.Generator().manual_seed(0))
        adaptor = self.weights.adaptor.model
        hook = adaptor.register_forward_hook(lambda *_: calls.update(adaptor=calls["adaptor"] + 1))
        try:
            sampler, sigmas = sampling.sampler_object("edm", 0.0, 1.0), sampling.schedule(STEPS, "edm")
            latent = guider.sample(noise, self.empty["samples"], sampler, sigmas, disable_pbar=True, seed=0)
        finally:
            hook.remove()
        return self.vae.decode(latent), calls


@pytest.fixture(scope="module")
def scene(pack, run):
    return Scene(pack, run)


@pytest.fixture(scope="module")
def uncached(scene):
    picture, calls = scene.sample(scene.supir, scene.tiles)
    assert calls == {"unet": STEPS * TILES, "adaptor": STEPS * TILES}
    return picture


def easy(model, threshold=0.2):
    from comfy_extras.nodes_easycache import EasyCacheNode

    return EasyCacheNode.execute(model, threshold, 0.15, 0.95, False)[0]


def lazy(model, threshold=0.2):
    from comfy_extras.nodes_easycache import LazyCacheNode

    return LazyCacheNode.execute(model, threshold, 0.15, 0.95, False)[0]


@pytest.mark.parametrize(("cache", "least"), [(easy, 33), (lazy, 22)])
def test_a_cache_leaves_out_whole_steps_of_all_tiles_in_any_order(scene, uncached, cache, least):
    """Measured: 44 and 40 of 64 calls, 33.4 and 22.8 dB to the picture without a cache."""
    cache = partial(cache, threshold=0.05)
    first, calls = scene.sample(cache, scene.supir, scene.tiles)
    assert calls["adaptor"] == calls["unet"] < 0.8 * STEPS * TILES
    assert calls["unet"] % TILES == 0
    assert psnr(first, uncached) > least
    for order in ((scene.supir, cache, scene.tiles), (scene.supir, scene.tiles, cache)):
        picture, others = scene.sample(*order)
        assert others == calls
        assert torch.equal(picture, first)


def test_tiles_that_move_are_all_computed_and_that_is_said(scene, caplog):
    """Nothing kept fits them."""
    moving = lambda model: scene.tiles(model, shifting=True)  # noqa: E731
    picture, calls = scene.sample(scene.supir, easy, moving)
    plain, expected = scene.sample(scene.supir, moving)
    assert calls == expected
    assert torch.equal(picture, plain)
    assert sum("switch `shifting` off" in record.message for record in caplog.records) == 1
    _, fewer = scene.sample(scene.supir, lazy, moving)
    assert fewer["unet"] < 0.8 * expected["unet"]


def test_a_cache_leaves_out_instantirs_networks_too(pack):
    instant, steps, calls = SmallInstant(pack), 8, []
    numbers = instant.golden.load("loop_default")
    z_lq = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    features = instant.golden.inputs(numbers)[0]
    hook = instant.weights.networks.model.aggregator.register_forward_hook(lambda *_: calls.append(1))
    pictures = [
        instant.restored(model, instant.prompts(numbers), z_lq, steps=steps)
        for model in (
            instant.apply(z_lq, features, easy(instant.model)),
            easy(instant.apply(z_lq, features)),
        )
    ]
    hook.remove()
    assert 2 <= len(calls) < 2 * steps
    assert torch.equal(pictures[0][0], pictures[1][0])
    assert len(pictures[0][1]) == len(calls) // 2
