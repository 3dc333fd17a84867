"""The means of speed and memory that `[runtime]` names, each applied to a loaded pipeline.

An option that this machine or this model cannot take is an error that names its key: a setting
that quietly does nothing would be believed.
"""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from contracts.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from contracts.manifest import Manifest

DENOISERS = ("transformer", "transformer_2", "unet", "dit")
"""Components that are run once per step: what attention, caches and quantisation are about."""

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

_PACKAGES = {"int8": "torchao", "fp8": "torchao", "nvfp4": "torchao", "nf4": "bitsandbytes"}
_CAPABILITY = {"fp8": (8, 9), "nvfp4": (10, 0)}
"""The least CUDA compute capability that multiplies numbers of this kind."""
_FAST_CACHE_RANGE = 2  # every second step takes the attention of the one before


@contextlib.contextmanager
def _named(key: str, value: str) -> Iterator[None]:
    """Turn whatever a library says against an option into an error that names the option."""
    try:
        yield
    except InvalidRequestError:
        raise
    except (ImportError, RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's; the child has a code for it
            raise
        words = " ".join(str(error).split())
        raise InvalidRequestError(
            f"runtime.{key} = {value!r} cannot be had: {words}", field=f"runtime.{key}"
        ) from error


def denoisers(pipeline: Any) -> dict[str, Any]:  # noqa: ANN401 - any diffusers pipeline
    """Return the components of a pipeline that run once per step, by name."""
    found = {name: getattr(pipeline, name, None) for name in DENOISERS}
    return {name: model for name, model in found.items() if model is not None}


def quantisation(manifest: Manifest, components: list[str]) -> dict[str, Any]:
    """Return what `from_pretrained` is told so that weights are made smaller while they are read.

    `components` are the pipeline's own denoisers. Raises InvalidRequestError(runtime.quantise).
    """
    wanted = manifest.runtime.quantise
    package = _PACKAGES.get(wanted)
    if package is None:
        return {}
    with _named("quantise", wanted):
        if find_spec(package) is None:
            raise ImportError(f"pip install {package}")
        _check_device(wanted)
        from diffusers import PipelineQuantizationConfig

        config = _quantisation_of(wanted)
        mapping = dict.fromkeys(components, config)
        return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}


def refuse_quantised_reading(manifest: Manifest) -> None:
    """Refuse `quantise`, but for `fp8_storage`, of what is not read component by component.

    Raises InvalidRequestError(runtime.quantise); call it before loading.
    """
    if quantisation(manifest, []):
        raise InvalidRequestError(
            f"runtime.quantise = {manifest.runtime.quantise!r} cannot be had of this pipeline",
            field="runtime.quantise",
        )


def _check_device(wanted: str) -> None:
    """Refuse what this device cannot compute before a library finds out in mid-load."""
    import torch

    least = _CAPABILITY.get(wanted)
    if least is None:
        return
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < least:
        raise ValueError(f"it needs a CUDA device of capability {least[0]}.{least[1]}")


def _quantisation_of(wanted: str) -> Any:  # noqa: ANN401 - a config of diffusers
    import torch
    from diffusers import BitsAndBytesConfig, TorchAoConfig

    if wanted == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    if wanted == "nvfp4":
        from torchao.prototype.mx_formats import NVFP4DynamicActivationNVFP4WeightConfig

        return TorchAoConfig(NVFP4DynamicActivationNVFP4WeightConfig())
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, Int8WeightOnlyConfig

    kind = Int8WeightOnlyConfig if wanted == "int8" else Float8DynamicActivationFloat8WeightConfig
    return TorchAoConfig(kind())


def apply(pipeline: Any, manifest: Manifest, on: str) -> None:  # noqa: ANN401 - any diffusers pipeline
    """Apply every option of a manifest but quantisation on loading, and put it on its device.

    Raises InvalidRequestError naming the key that this pipeline or machine cannot take.
    """
    runtime = manifest.runtime
    if runtime.attention:
        with _named("attention", runtime.attention):
            _each(pipeline, "set_attention_backend", runtime.attention)
    if runtime.quantise == "fp8_storage":
        with _named("quantise", runtime.quantise):
            _store_as_fp8(pipeline)
    if runtime.vae_tiling:
        with _named("vae_tiling", "true"):
            pipeline.vae.enable_tiling()
    _place(pipeline, runtime.offload, on)
    if runtime.cache:
        with _named("cache", runtime.cache):
            for model in _all(pipeline):
                model.enable_cache(_cache_of(pipeline, model, manifest))
    if runtime.compile:
        with _named("compile", "true"):
            _each(pipeline, "compile_repeated_blocks", fullgraph=True)


def _all(pipeline: Any) -> list[Any]:  # noqa: ANN401 - any diffusers pipeline
    found = list(denoisers(pipeline).values())
    if not found:
        raise ValueError(f"{type(pipeline).__name__} has none of {', '.join(DENOISERS)}")
    return found


def _each(pipeline: Any, method: str, *args: object, **kwargs: object) -> None:  # noqa: ANN401 - as above
    for model in _all(pipeline):
        getattr(model, method)(*args, **kwargs)


def _store_as_fp8(pipeline: Any) -> None:  # noqa: ANN401 - any diffusers pipeline
    """Keep the denoisers' weights in 8 bit, and compute with them in their own type."""
    import torch

    for model in _all(pipeline):
        model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=model.dtype)


def _place(pipeline: Any, offload: str, on: str) -> None:  # noqa: ANN401 - any diffusers pipeline
    """Move everything to the device, or only what is at work there.

    On a CPU there is nothing to move from: the weights lie where they are computed with.
    """
    if not offload or on == "cpu":
        pipeline.to(on)
        return
    with _named("offload", offload):
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=on)
        else:
            group_offload(pipeline, on)


def group_offload(pipeline: Any, on: str) -> None:  # noqa: ANN401 - any diffusers pipeline
    """Hold the weights in the host's memory and bring each layer to the device for its turn."""
    import torch

    pipeline.enable_group_offload(
        onload_device=torch.device(on),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=on != "cpu",
    )


def _cache_of(pipeline: Any, model: Any, manifest: Manifest) -> Any:  # noqa: ANN401 - a config of diffusers
    import diffusers

    def timestep() -> Any:  # noqa: ANN401 - a number or a tensor
        return pipeline.current_timestep

    threshold = manifest.model.parameters.get("cache_threshold")
    given: dict[str, Any] = {} if threshold is None else {"threshold": float(threshold)}
    makers: dict[str, Callable[[], Any]] = {
        "first_block": lambda: diffusers.FirstBlockCacheConfig(**given),
        "taylor_seer": lambda: diffusers.TaylorSeerCacheConfig(taylor_factors_dtype=model.dtype),
        "mag": lambda: diffusers.MagCacheConfig(**given, **_magnitudes(manifest)),
        "pyramid": lambda: diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=_FAST_CACHE_RANGE, current_timestep_callback=timestep
        ),
        "faster": lambda: diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=_FAST_CACHE_RANGE,
            current_timestep_callback=timestep,
            is_guidance_distilled=bool(manifest.model.parameters.get("guidance_distilled", False)),
            tensor_format=str(manifest.model.parameters.get("tensor_format", "BCFHW")),
        ),
    }
    return makers[manifest.runtime.cache]()


def _magnitudes(manifest: Manifest) -> dict[str, Any]:
    """Return what MagCache must know of a model: its ratios, measured for its number of steps."""
    parameters = manifest.model.parameters
    ratios = [float(r) for r in str(parameters.get("mag_ratios", "")).replace(",", " ").split()]
    steps = int(parameters.get("steps", 0))
    if not ratios or not steps:
        raise ValueError("model.parameters needs `steps` and `mag_ratios`, measured for this model")
    return {"mag_ratios": ratios, "num_inference_steps": steps}


def refuse_drop(manifest: Manifest, why: str) -> None:
    """Refuse `drop_text_encoder` for a model that cannot do without; call it before loading."""
    if manifest.runtime.drop_text_encoder:
        raise InvalidRequestError(
            f"runtime.drop_text_encoder cannot be had: {why}", field="runtime.drop_text_encoder"
        )


def refuse_all(manifest: Manifest, why: str) -> None:
    """Refuse every option that is set, but the number type; call it before loading."""
    for key in manifest.runtime.__struct_fields__:
        value = getattr(manifest.runtime, key)
        if key != "dtype" and value:
            raise InvalidRequestError(
                f"runtime.{key} = {value!r} cannot be had: {why}", field=f"runtime.{key}"
            )


class TextEncoders:
    """A pipeline's text encoders, in memory only while a prompt is encoded where so configured.

        with encoders.present():
            embeddings = pipeline.encode_prompt(...)

    Without `drop_text_encoder` they simply stay.
    """

    def __init__(
        self,
        pipeline: Any,  # noqa: ANN401 - any diffusers pipeline
        manifest: Manifest,
        folder: Path,
        on: str,
        *,
        load: Callable[[str], Any] | None = None,
    ) -> None:
        """Keep a pipeline; `load(name)` reads a component of one whose folder has no index."""
        self._load_one = load
        self._pipeline = pipeline
        self._manifest = manifest
        self._folder = folder
        self._on = on
        self._names = [n for n in ENCODERS if getattr(pipeline, n, None) is not None]
        self._drops = manifest.runtime.drop_text_encoder
        if self._drops and not self._names:
            raise InvalidRequestError(
                f"{type(pipeline).__name__} has no text encoder to drop",
                field="runtime.drop_text_encoder",
            )

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """Have them loaded within the block, and, where so configured, only there."""
        from inference import device

        try:
            self._load()
            yield
        finally:
            if self._drops:
                for name in self._names:
                    setattr(self._pipeline, name, None)
                device.free()

    def _load(self) -> None:
        from inference import loading

        for name in self._names:
            if getattr(self._pipeline, name) is None:
                model = (
                    self._load_one(name)
                    if self._load_one is not None
                    else loading.component(self._folder, name, self._manifest, self._on)
                )
                setattr(self._pipeline, name, model)
