"""Latents that are not of the picture are warned of, and no others."""

import pytest
import torch
import torch.nn.functional as F

from .small import module
from .small_instantir import SmallInstant
from .small_server import with_small_weights
from .workflows import API, read

WARNING = "neither empty nor like z_lq"
FACE = (slice(6, 38), slice(36, 68))
"""Rows and columns of the face in the demo's photograph of 128 by 128 pixels."""


class Scene:
    """The demo's photograph, read, and its latents of one size."""

    def __init__(self, pack, run):
        model, _, self.vae, weights, self.image = run("SupirDemoLoader")
        options = {"supir_model": weights, "min_side": 64, "vae_tile": 0}
        encoded = run("SupirEncode", vae=self.vae, image=self.image, scale=2.0, **options)
        self.z_lq, self.z_center, self.stage1, _, self.empty = encoded
        words = {"positive_words": "", "negative_words": "", "caption": "", "line_per_tile": False}
        self.prompts = run("SupirConditioning", clip=run("SupirDemoLoader")[1], **words)
        strength = {"strength_start": 1.0, "strength_end": 1.0}
        (self.model,) = run("SupirDenoiser", model=model, supir_model=weights, z_lq=self.z_lq, **strength)
        self.pack = pack

    def encode(self, image):
        """As VAE Encode does, at the size of stage 1."""
        picture = F.interpolate(image.movedim(-1, 1), self.stage1.shape[1:3], mode="bicubic").clamp(0, 1)
        return self.vae.encode(picture.movedim(1, -1))

    @property
    def face(self):
        return self.encode(self.image[:, FACE[0], FACE[1]])

    def sample(self, latent, sigma=2.0, noise=1.0, mask=None):
        """The last half of a sampling, as a detailer does it."""
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(*self.prompts)
        sampler = module(self.pack, "nodes.sampling").sampler_object("edm", 0.0, 1.0)
        added = noise * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
        sigmas = torch.tensor([sigma, sigma / 4, 0.0])
        return guider.sample(added, latent, sampler, sigmas, denoise_mask=mask, disable_pbar=True, seed=0)


@pytest.fixture(scope="module")
def scene(pack, run):
    return Scene(pack, run)


def warnings(caplog):
    return [record.message for record in caplog.records if WARNING in record.message]


def test_the_face_of_a_picture_is_warned_of_once_with_what_to_do(scene, caplog):
    scene.sample(scene.face)
    (message,) = warnings(caplog)
    for said in ("FaceDetailer", "Ultimate SD Upscale", "crop and stitch", "give the crop to SUPIR Encode"):
        assert said in message


def test_a_crop_that_has_a_mask_is_warned_of(scene, caplog):
    mask = torch.zeros(1, 1, *scene.z_lq["samples"].shape[2:])
    mask[..., 8:-8, 8:-8] = 1
    scene.sample(scene.face, mask=mask)
    assert len(warnings(caplog)) == 1


def test_latents_of_the_picture_are_not_warned_of(scene, caplog):
    restored = scene.sample(scene.z_lq["samples"])
    for latent in (scene.empty, scene.z_lq, scene.z_center):
        scene.sample(latent["samples"])
    for latent in (restored, scene.encode(scene.image), scene.encode(scene.stage1)):
        scene.sample(latent)
    assert not warnings(caplog)


def test_a_latent_that_goes_on_from_another_sampling_is_not_warned_of(scene, caplog):
    """Its noise is in it."""
    noisy = scene.z_lq["samples"] + 40 * torch.randn(scene.z_lq["samples"].shape)
    scene.sample(noisy, noise=0.0)
    assert not warnings(caplog)


def test_a_region_of_the_picture_is_not_warned_of(scene, caplog):
    """What is to be sampled may be empty or grey."""
    mask = torch.ones(1, 1, *scene.z_lq["samples"].shape[2:])
    mask[..., :6] = 0
    scene.sample(torch.where(mask < 1, scene.z_lq["samples"], 0.0), mask=mask)
    scene.sample(torch.where(mask < 1, scene.z_lq["samples"], -scene.z_lq["samples"]), mask=mask)
    assert not warnings(caplog)


def test_one_row_of_a_batch_that_is_a_crop_is_warned_of(scene, pack):
    likeness = module(pack, "nodes.wrong_crop").likeness
    z_lq = scene.z_lq["samples"]
    assert likeness(torch.cat([z_lq, scene.face]), z_lq) < 0.35 < likeness(torch.cat([z_lq, 0 * z_lq]), z_lq)


@pytest.mark.parametrize("part", [(0, 24, 0, 24), (24, 56, 8, 40), (30, 62, 30, 62), (40, 64, 0, 24)])
def test_parts_of_the_picture_are_unlike_it(scene, pack, part):
    top, bottom, left, right = part
    likeness = module(pack, "nodes.wrong_crop").likeness
    assert likeness(scene.encode(scene.image[:, top:bottom, left:right]), scene.z_lq["samples"]) < 0.35


def test_instantir_warns_too(pack, caplog):
    instant = SmallInstant(pack)
    numbers = instant.golden.load("loop_default")
    z_lq, other = (torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    model = instant.apply(z_lq, instant.golden.inputs(numbers)[0])
    instant.restored(model, instant.prompts(numbers), z_lq, steps=1)
    assert not warnings(caplog)
    instant.restored(model, instant.prompts(numbers), other, steps=1)
    assert ["give the crop to InstantIR Apply" in text for text in warnings(caplog)] == [True]


LITTLE = {
    "SupirEncode": {"scale": 1.0, "min_side": 64},
    "SupirRestore": {"preset": "demo", "scale": 1.0},
    "SupirSampler": {"preset": "custom", "steps": 1, "tile": 64, "overlap": 32},
    "SupirScheduler": {"steps": 1},
    "BasicScheduler": {"steps": 1},
    "SupirConditioning": {"line_per_tile": False},
    "Tile": {"value": 64},
    "Overlap": {"value": 32},
    "InstantIRApply": {"scale": 1.0, "min_side": 64},
    "InstantIRSampler": {"steps": 1},
}
"""Inputs with which a workflow has little to do."""


ELSEWHERE = ("restore_faces", "restore_a_painted_region", "restore_video")
"""They need boxes, a mask or a video, and sample with SUPIR Restore only; test_region_workflows and test_frames run them."""


@pytest.mark.parametrize(
    "file", sorted(file for file in API.glob("*.json") if file.stem not in ELSEWHERE), ids=lambda file: file.stem
)
def test_a_bundled_workflow_is_not_warned_of(small_server, file):
    prompt, before = read(file), len(small_server.log)
    run = small_server.run(prompt if file.stem == "demo" else with_small_weights(prompt, small_server.base, LITTLE))
    assert run.end == "execution_success", run.messages[-1]
    assert WARNING not in small_server.log[before:]
