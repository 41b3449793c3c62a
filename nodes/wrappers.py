"""ComfyUI's wrappers round a call of its UNet, in the forms that both methods use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .options import with_levels

Options = dict[str, Any]
Wrapper = Callable[..., Any]


class UNetInputs(NamedTuple):
    """What the UNet is called with, besides control and options."""

    x: Tensor
    timesteps: Tensor
    context: Tensor
    y: Tensor


class Inner(NamedTuple):
    """What stands in for ComfyUI's executor where a wrapper is the last.

    Attributes:
        original: what is wrapped.
        class_obj: what that is a method of.
    """

    original: Callable[..., Any]
    class_obj: Any

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Call what is wrapped."""
        return self.original(*given, **more)


def innermost(inner: Wrapper) -> Wrapper:
    """The wrapper as the last before what is wrapped, in whatever order nodes were connected.

    Caches such as EasyCache then leave out all of its work with the call that they leave out, and see a step as one.
    """

    def wrapper(executor: Any, *given: Any, **more: Any) -> Any:
        last = Inner(executor.original, executor.class_obj)
        executor.original = lambda *now, **rest: inner(last, *now, **rest)  # the executors after this one take it over
        return executor(*given, **more)

    return wrapper


def replace_wrappers(model: ModelPatcher, key: str, wrappers: Mapping[str, Wrapper]) -> None:
    """Put wrappers on a model, one of each kind, in place of those that it has under the same key."""
    for kind, wrapper in wrappers.items():
        model.remove_wrappers_with_key(kind, key)
        model.add_wrapper_with_key(kind, key, wrapper)


def on_device(tensors: Mapping[str, Tensor]) -> Wrapper:
    """An OUTER_SAMPLE wrapper that has tensors on the device for one sampling, each under a key of its options."""

    def wrapper(executor: Any, *given: Any, **more: Any) -> Tensor:
        guider = executor.class_obj
        device = guider.model_patcher.load_device
        guider.model_options["transformer_options"].update({key: some.to(device) for key, some in tensors.items()})
        return executor(*given, **more)

    return wrapper


def tell_levels(
    executor: Any, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None
) -> Tensor:
    """A PREDICT_NOISE wrapper: see ``with_levels``."""
    return executor(x, timestep, with_levels(model_options or {}, timestep), seed)


def before_model(change: Callable[[Any, Tensor, Tensor, Options], tuple[Tensor, Options]]) -> Wrapper:
    """An APPLY_MODEL wrapper: ``change(model, x, sigma, options)`` gives the call's noise level and options."""

    def wrapper(
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None,
        c_crossattn: Tensor | None,
        control: Any,
        transformer_options: Options,
        **rest: Any,
    ) -> Tensor:
        t, options = change(executor.class_obj, x, t, transformer_options)
        return executor(x, t, c_concat, c_crossattn, control, options, **rest)

    return wrapper


def before_unet(change: Callable[[Any, UNetInputs, Any, Options, Options], tuple[Any, Options]]) -> Wrapper:
    """A DIFFUSION_MODEL wrapper, the innermost: ``change(executor, inputs, control, options, rest)`` gives control and options."""

    def wrapper(
        executor: Any,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control: Any,
        transformer_options: Options,
        **rest: Any,
    ) -> Tensor:
        inputs = UNetInputs(x, timesteps, context, y)
        control, options = change(executor, inputs, control, transformer_options, rest)
        return executor(*inputs, control, options, **rest)

    return innermost(wrapper)


def reserving(share: float) -> Wrapper:
    """A PREPARE_SAMPLING wrapper that tells ComfyUI of ``share`` times the UNet's own memory.

    ComfyUI reckons with pictures times area, so a fraction of a picture will do.
    """

    def wrapper(executor: Any, model: ModelPatcher, noise_shape: Any, *rest: Any, **more: Any) -> Any:
        batch, *shape = noise_shape
        return executor(model, [batch * share, *shape], *rest, **more)

    return wrapper
