"""Frames of a video through the nodes: each as if it were alone, in constant memory, from file to file."""

import av
import numpy as np
import pytest
import torch

from supir_core.command.demo import WEIGHTS
from supir_core.files.pictures import read_picture

from ..training.full_size import Counter
from .demo_prompt import with_demo_weights
from .small import module
from .workflows import API, read

CLOSE = 1e-4
"""Largest difference of rows that go through the networks together, in float32."""

FRAMES, SIZE, FPS = 3, (64, 48), 5


@pytest.fixture(scope="module")
def frames():
    """Three frames of a pan."""
    picture = read_picture(WEIGHTS / "damaged.png").movedim(1, -1)
    return torch.cat([picture[:, 40:64, left : left + 32] for left in (40, 42, 44)])


@pytest.fixture(scope="module")
def restore(run, demo):
    given = {"caption": "", "scale": 2.0, "seed": 3, "tile": 0, "overlap": 128, "color_fix": "wavelet"}
    return lambda frames, **more: run("SupirRestore", **demo, image=frames, **{**given, "preset": "lightning", **more})


def test_a_frame_is_what_it_is_alone_wherever_it_stands(restore, frames):
    image, stage1 = restore(frames, same_noise=True)
    for place in range(3):
        alone, _ = restore(frames[place : place + 1])
        assert torch.equal(image[place], alone[0])
    assert torch.equal(stage1, restore(frames[:1])[1])


def test_pictures_have_the_next_seed_each(restore, frames):
    image, stage1 = restore(frames)
    for place in range(3):
        alone = restore(frames[place : place + 1], seed=3 + place)
        assert torch.equal(image[place], alone[0][0])
        assert torch.equal(stage1[place], alone[1][0])


def test_memory_beside_pictures_and_results_does_not_grow_with_the_frames(restore, frames):
    def beside(count):
        video = frames[:1].repeat(count, 1, 1, 1)
        with Counter() as counter:
            results = restore(video, same_noise=True, preset="demo")
        return counter.peak - sum(part.nbytes for part in (video, *results))

    beside(2)  # what is made once, at the first picture
    assert abs(beside(12) - beside(2)) < 1024  # bytes: Python may keep a latent of 512 a little longer, but not ten


def test_a_region_has_the_same_noise_in_every_frame(run, demo, frames):
    mask = torch.zeros(1, 24, 32)
    mask[:, 4:20, 8:24] = 1
    given = {"mask": mask, "caption": "", "preset": "lightning", "seed": 3, "context": 1.5, "feather": 4}
    image, _ = run("SupirRestoreRegion", **demo, image=frames[:1].repeat(2, 1, 1, 1), color_fix="none", **given)
    assert torch.equal(image[0], image[1])
    assert not torch.equal(image[0], frames[0])


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("node", ["SupirSampler", "InstantIRSampler"])
def test_rows_of_a_latent_have_one_noise_where_it_is_asked_for(run, demo, node, same):
    row = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    words = {"caption": "", "line_per_tile": False, "positive_words": "", "negative_words": ""}
    positive, negative = run("SupirConditioning", clip=demo["clip"], **words)
    given = {"model": demo["model"], "positive": positive, "negative": negative, "z_lq": {"samples": row}, "seed": 3}
    if node == "SupirSampler":
        given |= {"supir_model": demo["supir_model"], "preset": "lightning", "tile": 0, "overlap": 128}
    else:
        given |= {"steps": 4, "cfg": 1.0}
    one, other = run(node, **given, same_noise=same)[0]["samples"]
    assert ((one - other).abs().max() < CLOSE) == same


def write_video(path):
    """A tiny video, with the frames' numbers as their grey, on a chequered half."""
    pixels = np.indices(SIZE[::-1]).sum(0) // 8 % 2 * 255
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FRAMES):
            grey = np.where(np.arange(SIZE[0]) < SIZE[0] // 2, 60 + 40 * number, pixels).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), format="rgb24")))
        file.mux(stream.encode())


def test_a_video_is_restored_from_file_to_file(server):
    write_video(server.base / "input" / "tiny.mp4")
    changes = {"LoadVideo": {"file": "tiny.mp4"}, "SupirRestore": {"preset": "demo", "scale": 2.0}}
    done = server.run(with_demo_weights(read(API / "restore_video.json"), changes))
    assert done.end == "execution_success", done.messages[-1]

    progress = [step for step in done.of_type("progress") if step["max"] > 1]
    steps = 2 * FRAMES
    assert [step["value"] for step in progress if step["max"] == steps] == list(range(1, steps + 1))
    assert len(done.previews) >= steps

    (saved,) = done.pictures
    with av.open(str(saved)) as file:
        stream = file.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert stream.average_rate == FPS
    assert [picture.shape for picture in shown] == [(2 * SIZE[1], 2 * SIZE[0], 3)] * FRAMES
    greys = [picture[:, : SIZE[0] // 2].mean() for picture in shown]
    assert greys[0] + 20 < greys[1] < greys[2] - 20, "the frames are in their order"


def test_a_batch_without_frames_is_named(restore):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(B, H, W, 1, 3 or 4\), got \(0, 8, 8, 3\)"):
        restore(torch.zeros(0, 8, 8, 3), same_noise=True)


def test_an_interrupt_stops_between_frames(restore, frames, pack, monkeypatch):
    import comfy.model_management as management

    nodes = module(pack, "nodes.restore")
    finish, done = nodes.finish, []

    def finish_and_interrupt(*given):
        done.append(given)
        management.interrupt_current_processing()
        return finish(*given)

    monkeypatch.setattr(nodes, "finish", finish_and_interrupt)
    with pytest.raises(management.InterruptProcessingException):
        restore(frames, preset="demo")
    assert len(done) == 1
