"""Restorations with the nodes, in a ComfyUI of its own on a GPU: it looks for one when it is imported.

    python -m tests.host.on_gpu COMFYUI INSTANTIR RESULTS (simulated | real) [FLAG ...]

Needs the folders of ComfyUI and of small InstantIR weights; writes a file of tensors.
"""

import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from supir_core.command.demo import SUPIR_FILE, WEIGHTS

from .inside import import_comfyui, load_pack, runner
from .small import module

SIMULATED = ("--disable-dynamic-vram", "--disable-pinned-memory", "--use-pytorch-cross-attention")
"""ComfyUI calls CUDA itself for what these flags turn off, and looks for it by PyTorch's build for the last."""

TILES = {"tile": 64, "overlap": 16}


@torch.inference_mode()
def results(run, pack, instantir, gpu=None):
    """What nodes make of two small pieces of the demo's picture, by the node that did most of it; waits of ``gpu`` too."""
    model, clip, vae, weights, image = run("SupirDemoLoader")
    small, wide = image[:, 20:36, 40:56], image[:, 20:36, 40:72]
    z_lq, z_center, stage1, _, empty = run(
        "SupirEncode", supir_model=weights, vae=vae, image=wide, scale=4.0, min_side=64, vae_tile=64
    )
    made = {"SupirEncode": stage1, "z_lq": z_lq["samples"], "z_center": z_center["samples"]}
    made["SupirRestore"], _ = run(
        "SupirRestore",
        model=model,
        clip=clip,
        vae=vae,
        supir_model=weights,
        image=small,
        caption="a face",
        scale=4.0,
        preset="demo",
        seed=3,
        color_fix="wavelet",
        **TILES,
    )

    def prompts(*captions):
        words = {"positive_words": "sharp", "negative_words": "blurred", "line_per_tile": False}
        return run("SupirConditioning", clip=clip, caption="", tile_captions=captions, **words)

    positive, negative = prompts("a boat", "a dog", "a tree")
    sampling = {
        "model": model,
        "supir_model": weights,
        "positive": positive,
        "negative": negative,
        "z_lq": z_lq,
        "z_center": z_center,
        "preset": "custom",
        "seed": 3,
        "cfg_start": 3.0,
        "cfg_end": 5.0,
        "strength_start": 1.0,
        "strength_end": 0.9,
        "restoration_scale": 4.0,
        "s_churn": 0.0,
        "s_noise": 1.0,
        **TILES,
    }
    for sampler in ("edm", "dpmpp_2m_sde"):
        waits = []
        for steps in (2, 4):
            before = waits_of_ours(gpu)
            (sampled,) = run("SupirSampler", **sampling, sampler=sampler, steps=steps)
            waits.append(waits_of_ours(gpu) - before)
        made[f"SupirSampler, {sampler}"] = sampled["samples"]
        made[f"waits of a step, {sampler}"] = torch.tensor((waits[1] - waits[0]) / 2)
    positive, negative = prompts("a face")
    z_lq = {"samples": z_lq["samples"][..., :8]}
    rounded = module(pack, "nodes.loader").load_weights(WEIGHTS / SUPIR_FILE, "float8_e4m3fn")
    strength = {"strength_start": 1.0, "strength_end": 1.0}
    (changed,) = run("SupirDenoiser", model=model, supir_model=rounded, z_lq=z_lq, **strength)
    made["SupirDenoiser"] = sampled_by_comfyui(changed, positive, negative, empty["samples"][..., :8])
    features = torch.rand(1, 257, 48, generator=torch.Generator().manual_seed(0))
    files = [instantir / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin")]
    changed = module(pack, "nodes.instantir.apply").apply_instantir(
        model,
        module(pack, "nodes.instantir.loader").load_weights(files, "float32"),
        z_lq["samples"],
        (features, torch.zeros_like(features)),
        module(pack, "supir_core.instantir.sampling").Control(),
        "none",
    )
    prompt = {"positive": positive, "negative": negative}
    latent, previews = run("InstantIRSampler", model=changed, **prompt, z_lq=z_lq, seed=3, steps=2, cfg=4.0)
    return made | {"InstantIRSampler": latent["samples"], "previews": previews["samples"]}


def waits_of_ours(gpu):
    """How often the host waited for the simulated GPU, but for ComfyUI's own uploads beneath our wrappers."""
    lines = gpu.waits.items() if gpu else ()
    return sum(count for line, count in lines if not line.startswith("nodes/wrappers.py"))


def sampled_by_comfyui(model, positive, negative, empty):
    """As the node SamplerCustomAdvanced does with its own sampler."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(3.0)
    noise = torch.randn(empty.shape, generator=torch.Generator().manual_seed(1))
    sampler = comfy.samplers.sampler_object("euler")
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 2)
    return guider.sample(noise, empty, sampler, sigmas, disable_pbar=True, seed=1)


def main(comfyui, instantir, file, kind, *flags):
    torch.set_num_threads(1)  # as the tests
    simulated = kind == "simulated"
    if simulated:
        from ..simulated_gpu import simulated_gpu
    with TemporaryDirectory() as base, simulated_gpu() if simulated else nullcontext() as gpu:
        import_comfyui(Path(comfyui), Path(base), [*flags, *(SIMULATED if simulated else ())])
        pack = load_pack()
        made = results(runner(pack), pack, Path(instantir), gpu)
        assert torch.cuda.max_memory_allocated() > 2**20, "little or nothing was on the GPU"
        save_file({name: tensor.cpu().contiguous() for name, tensor in made.items()}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
