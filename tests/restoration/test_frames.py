"""Frames of a video: each as if it were alone, in constant memory."""

from dataclasses import replace

import pytest
import torch

from supir_core import InstantSettings, load_instantir, preset, restore, restore_instantir
from supir_core.command.demo import SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.restoration.noise import SEEDS

from ..small_instantir import small_networks, write_files
from ..training.full_size import Counter

FAST = preset("quality", steps=2, seed=SEEDS - 1)
"""With noise at every step; the next seed is 0."""


@pytest.fixture(scope="module")
def frames():
    return torch.rand(3, 3, 32, 64)


@pytest.fixture(scope="module", params=["edm", "dpmpp_2m_sde", "instantir"])
def method(request, demo_model, tmp_path_factory):
    if request.param == "instantir":
        files = write_files(tmp_path_factory.mktemp("instantir"), small_networks())
        model = load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
        settings = InstantSettings(steps=3, seed=SEEDS - 1)
        return lambda frames, **changes: restore_instantir(model, frames, replace(settings, **changes))
    settings = replace(FAST, sampler=request.param, steps=3)
    return lambda frames, **changes: restore(demo_model, frames, replace(settings, **changes))


def test_a_frame_is_what_it_is_alone_wherever_it_stands(method, frames):
    together = method(frames, same_noise=True).image
    for place in range(3):
        assert torch.equal(together[place], method(frames[place : place + 1]).image[0])
    assert torch.equal(method(frames.flip(0), same_noise=True).image, together.flip(0))


def test_pictures_have_the_next_seed_each(method, frames):
    together = method(frames)
    for place, seed in enumerate((SEEDS - 1, 0, 1)):
        alone = method(frames[place : place + 1], seed=seed)
        assert torch.equal(together.image[place], alone.image[0])
        assert torch.equal(together.stage1[place], alone.stage1[0])


def test_frames_alike_do_not_flicker(method, frames):
    alike = frames[:1].expand(2, -1, -1, -1)
    one, other = method(alike, same_noise=True).image
    assert torch.equal(one, other)
    one, other = method(alike).image
    assert (one - other).abs().mean() > 0.001


def test_stage_1_of_frames_is_that_of_the_first(method, frames):
    assert torch.equal(method(frames, same_noise=True).stage1, method(frames[:1]).stage1)


def test_memory_beside_pictures_and_results_does_not_grow_with_the_frames(method):
    def beside(count):
        frames = torch.rand(count, 3, 16, 32)
        with Counter() as counter:
            restored = method(frames, same_noise=True)
        return counter.peak - sum(part.nbytes for part in (frames, *restored))

    beside(2)  # what is made once, at the first picture
    assert abs(beside(12) - beside(2)) < 1024  # bytes: Python may keep a latent of 512 a little longer, but not ten


def test_progress_is_that_of_all_frames(demo_model, frames):
    told = []
    restore(demo_model, frames, replace(FAST, tile=64, overlap=0), scale=2, callback=told.append)
    sampling = [progress for progress in told if progress.stage == "sample"]
    calls = 3 * 2 * 2  # frames, tiles, steps
    assert [progress.done for progress in sampling] == sorted(progress.done for progress in sampling)
    assert {progress.total for progress in sampling} == {calls}
    assert sampling[-1].done == calls
    previews = [progress.preview for progress in sampling if progress.preview is not None]
    assert [preview.shape for preview in previews] == [(1, 4, 8, 16)] * 6


def test_it_can_be_stopped_between_frames(demo_model, frames):
    def stop(progress):
        if progress.stage == "decode" and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(demo_model, frames, FAST, callback=stop)
