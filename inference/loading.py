"""Pipelines and models read from the disk: safetensors alone, never from the network."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import msgspec

from bus.weights import WeightsError
from contracts.errors import AdgenxError, InvalidRequestError
from inference import device, options, weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contracts.manifest import Manifest

_INDEXES = ("model_index.json", "modular_model_index.json")


def load(kind: Any, manifest: Manifest, *, folder: Path | None = None, **components: Any) -> Any:  # noqa: ANN401 - a pipeline's class, its instance, and what it is made of
    """Load a diffusers pipeline of class `kind` as the manifest's `[runtime]` says.

    From the service's weights, or `folder`. `components` replace those of the folder. Raises
    WeightsError for weights that lack or cannot be read, and InvalidRequestError naming the option
    that cannot be had.
    """
    found = folder or weights.path(manifest)
    on = device.device()
    given = {
        "dtype": device.dtype(manifest, on),
        "local_files_only": True,
        "use_safetensors": True,
        **options.quantisation(manifest, _denoisers_in(found)),
        **components,
    }
    be_quiet()
    with reading(found):
        pipeline = kind.from_pretrained(str(found), **given)
    return prepare(pipeline, manifest)


def load_modular(kind: Any, manifest: Manifest, *, folder: Path | None = None) -> Any:  # noqa: ANN401 - a modular pipeline's class, and its instance
    """Load a modular pipeline in the same way: `kind` is `ModularPipeline` or a class of its own.

    Every component is read from the folder, whatever repository the folder's index names for it.
    None is made smaller while it is read: `quantise` is refused but for `fp8_storage`.
    """
    options.refuse_quantised_reading(manifest)
    found = folder or weights.path(manifest)
    on = device.device()
    be_quiet()
    with reading(found):
        pipeline = kind.from_pretrained(str(found), local_files_only=True)
        pipeline.load_components(
            dtype=device.dtype(manifest, on),
            pretrained_model_name_or_path=str(found),
            local_files_only=True,
        )
    return prepare(pipeline, manifest)


def be_quiet() -> None:
    """Turn the libraries' progress bars off: what a model prints is a log line."""
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def prepare(pipeline: Any, manifest: Manifest) -> Any:  # noqa: ANN401 - any diffusers pipeline
    """Apply the options to a pipeline, put it on its device and in its resting state; return it."""
    import torch

    for name in getattr(pipeline, "components", {}):
        model = getattr(pipeline, name, None)
        if isinstance(model, torch.nn.Module):
            model.eval().requires_grad_(requires_grad=False)
    options.apply(pipeline, manifest, device.device())
    if hasattr(pipeline, "set_progress_bar_config"):
        pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_model(kind: Any, manifest: Manifest, *, folder: Path | None = None, **given: Any) -> Any:  # noqa: ANN401 - a model's class, its instance and its arguments
    """Load one model, of transformers or diffusers, without a pipeline around it; as `load`.

    Of `[runtime]` it takes `dtype` alone: the rest is refused, not passed over.
    """
    options.refuse_all(manifest, "a model without a pipeline takes none but dtype")
    found = folder or weights.path(manifest)
    on = device.device()
    be_quiet()
    with reading(found):
        model = kind.from_pretrained(
            str(found),
            dtype=device.dtype(manifest, on),
            local_files_only=True,
            use_safetensors=True,
            **given,
        )
    return model.eval().requires_grad_(requires_grad=False).to(on)


def component(folder: Path, name: str, manifest: Manifest, on: str) -> Any:  # noqa: ANN401 - whatever the index names
    """Load one component of a pipeline's folder by the class that its index names."""
    named = _index(folder).get(name)
    match named:
        case [str(library), str(kind)] if library in ("diffusers", "transformers"):
            found = getattr(importlib.import_module(library), kind, None)
        case _:
            found = None
    if found is None:
        raise WeightsError(f"{folder.name} names no class of ours for {name}")
    with reading(folder):
        model = found.from_pretrained(
            str(folder / name),
            dtype=device.dtype(manifest, on),
            local_files_only=True,
            use_safetensors=True,
        )
    return model.eval().requires_grad_(requires_grad=False).to(on)


def add_lora(pipeline: Any, file: Path, *, name: str, strength: float = 1.0) -> None:  # noqa: ANN401 - any diffusers pipeline
    """Load an adapter, of safetensors, from a file beside the weights, and set how much it counts.

    Raises WeightsError if it does not fit the pipeline.
    """
    with reading(file.parent):
        pipeline.load_lora_weights(
            str(file.parent),
            weight_name=file.name,
            adapter_name=name,
            local_files_only=True,
            use_safetensors=True,
        )
        loaded = {a for names in pipeline.get_list_adapters().values() for a in names}
        if name not in loaded:  # a file whose keys nobody knows is only warned of
            raise WeightsError(f"{file.name} is no adapter for {type(pipeline).__name__}")
        pipeline.set_adapters([name], adapter_weights=[strength])


@contextlib.contextmanager
def running(pipeline: Any) -> Iterator[None]:  # noqa: ANN401 - any diffusers pipeline
    """Run a pipeline within the block: without gradients, and at rest again however it ends.

    A run that is cancelled in the middle leaves caches and hooks behind, which would make the next
    one's bytes other than they are.
    """
    import torch

    with torch.inference_mode():
        try:
            yield
        finally:
            if hasattr(pipeline, "maybe_free_model_hooks"):
                pipeline.maybe_free_model_hooks()
            for model in options.denoisers(pipeline).values():
                if hasattr(model, "_reset_stateful_cache"):
                    model._reset_stateful_cache()  # noqa: SLF001 - what pipelines call at their end
            if device.device() != "cpu":  # whose memory comes back by itself, in its own time
                device.free()


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn whatever libraries say of files they cannot read into a WeightsError."""
    try:
        yield
    except (AdgenxError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's; the child has a code for it
            raise
        words = " ".join(str(error).split())
        raise WeightsError(f"{folder.name} cannot be loaded: {words}") from error


def _index(folder: Path) -> dict[str, Any]:
    for name in _INDEXES:
        with contextlib.suppress(OSError):
            try:
                return msgspec.json.decode((folder / name).read_bytes(), type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise WeightsError(f"{folder.name}/{name} is damaged: {error}") from None
    raise WeightsError(f"{folder.name} has no {_INDEXES[0]}: it is no pipeline's folder")


def _denoisers_in(folder: Path) -> list[str]:
    return [name for name in options.DENOISERS if name in _index(folder)]


def parameter(manifest: Manifest, key: str, kind: type[Any]) -> Any:  # noqa: ANN401 - of type `kind`
    """Return a model's own default from `model.parameters`; raises InvalidRequestError(field)."""
    value = manifest.model.parameters.get(key)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(
            f"{manifest.name}: model.parameters.{key}: {error}", field=f"model.parameters.{key}"
        ) from None
