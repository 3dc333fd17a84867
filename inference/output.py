"""What a model made, as the file that was asked for: its size, its length, its facts inside.

Nothing of the file depends on the clock or the machine: equal pixels make equal bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bus.worker.model import Media
from contracts.errors import InvalidRequestError
from inference import weights
from inference.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from bus.worker.model import Files
    from contracts.manifest import Manifest
    from media.pixels import Planes

_CHANNELS = 3


def facts(manifest: Manifest, **values: object) -> dict[str, str]:
    """Return an output's facts: the model, its weights' revision, and whatever is given.

    Numbers become text; what is None is left out. Never pass prompts or secrets.
    """
    known = {"model": manifest.model.name, "revision": weights.revision(manifest)}
    given = {name: _text(value) for name, value in values.items() if value is not None}
    return {name: text for name, text in (known | given).items() if text}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def even(width: int, height: int) -> None:
    """Refuse a film of odd sides, which 4:2:0 pictures cannot have. Call it before any work."""
    for field, side in (("width", width), ("height", height)):
        if side % 2:
            raise InvalidRequestError(f"4:2:0 video has even sides, not {side}", field=field)


def picture(
    image: Image.Image | NDArray[Any],
    size: tuple[int, int],
    files: Files,
    facts: Mapping[str, str],
    *,
    name: str = "image",
) -> Media:
    """Write a picture as PNG of exactly `size`, (width, height): scaled to cover it and cropped.

    `image` is a PIL image or an array (h, w, 3), uint8 or float in 0..1.
    """
    import numpy as np

    from media.still import Stamp, encode_png

    fitted = np.asarray(cover(image, Size(*size)))
    path = files.new(".png")
    path.write_bytes(encode_png(fitted[..., ::-1].copy(), Stamp(comment=comment(facts))))
    return Media(
        path=path,
        media_type="image/png",
        name=name,
        width=size[0],
        height=size[1],
        metadata=dict(facts),
    )


def film(  # noqa: PLR0913 - a film has a size, a rate and a length, asked for and made
    frames: NDArray[Any],
    native_fps: float,
    *,
    size: tuple[int, int],
    fps: int,
    seconds: float,
    files: Files,
    facts: Mapping[str, str],
    name: str = "video",
    report: Callable[[int, int], None] | None = None,
) -> Media:
    """Write a film as MP4 of exactly `size` (even), `fps` and `seconds`, without sound.

    `frames` is (n, h, w, 3), uint8 or float in 0..1, `native_fps` of them a second; of every moment
    the nearest one is shown, and the last one stays. `report(done, total)` hears of each frame
    that is coded and may raise to stop.
    """
    from media.encode import Quality, VideoSpec, encode, even_segments
    from media.mux import Extras, write_mp4
    from media.pixels import Planes

    even(*size)
    count = max(1, round(seconds * fps))
    chosen = nearest(len(frames), native_fps, fps=fps, count=count)
    heard = report or _ignored

    def paint(first: int, end: int) -> Iterator[Planes]:
        shown, planes = -1, None
        for source in chosen[first:end]:
            if planes is None or source != shown:
                bgr = pixels(cover(frames[source], Size(*size)))[..., ::-1]
                shown, planes = source, Planes.from_bgr(bgr)
            yield planes

    # One worker: a process that holds a device must not fork.
    stream = encode(
        paint,
        even_segments(count),
        count,
        VideoSpec(*size, fps, Quality.PLATE),
        report=lambda done: heard(done, count),
        workers=1,
    )
    path = files.new(".mp4")
    write_mp4(path, stream, Extras(tags={"comment": comment(facts)}))
    return Media(
        path=path,
        media_type="video/mp4",
        name=name,
        width=size[0],
        height=size[1],
        seconds=count / fps,
        fps=float(fps),
        metadata=dict(facts),
    )


def sound(
    samples: NDArray[Any],
    rate: int,
    *,
    files: Files,
    facts: Mapping[str, str],
    seconds: float = 0.0,
    name: str = "sound",
) -> Media:
    """Write sound as WAV, stereo, 24 bit, 48 kHz; `samples` is (channels, n) float in -1..1.

    With `seconds` it is exactly that long: cut, or followed by silence.
    """
    import numpy as np

    from media.pcm import SAMPLE_RATE, fit, frames_of, to_stereo
    from media.spectrum import resample
    from media.wav import write_wav

    track = to_stereo(resample(np.ascontiguousarray(samples.T, np.float32), rate))
    if seconds:
        track = fit(track, frames_of(seconds))
    path = files.new(".wav")
    write_wav(path, track, info={"ICMT": comment(facts)})
    return Media(
        path=path,
        media_type="audio/wav",
        name=name,
        seconds=len(track) / SAMPLE_RATE,
        metadata=dict(facts),
    )


def nearest(made: int, native_fps: float, *, fps: float, count: int) -> list[int]:
    """Return which of `made` frames is shown at each of `count` frames of another rate."""
    moments = ((n + 0.5) / fps for n in range(count))
    return [min(made - 1, int(moment * native_fps)) for moment in moments]


def cover(image: Image.Image | NDArray[Any], size: Size) -> Image.Image:
    """Return an RGB picture of exactly `size`: scaled to cover it, and its middle kept."""
    from PIL import Image

    found = image if isinstance(image, Image.Image) else Image.fromarray(_bytes(image))
    rgb = found.convert("RGB")
    if (rgb.width, rgb.height) == tuple(size):
        return rgb
    scale = min(rgb.width / size.width, rgb.height / size.height)
    # One of the two is the picture's own side, which rounding must not leave by a hair.
    wide, high = min(rgb.width, size.width * scale), min(rgb.height, size.height * scale)
    left, top = (rgb.width - wide) / 2, (rgb.height - high) / 2
    box = (left, top, min(rgb.width, left + wide), min(rgb.height, top + high))
    return rgb.resize(size, Image.Resampling.LANCZOS, box=box)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture as uint8, (h, w, 3)."""
    import numpy as np

    shown = array[..., :_CHANNELS]
    if shown.dtype == np.uint8:
        return np.asarray(shown, np.uint8)
    if not np.isfinite(shown).all():
        raise ValueError("the model made numbers that are no picture")
    return np.asarray(np.rint(np.clip(shown, 0, 1) * 255), np.uint8)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return a picture's pixels, (h, w, 3)."""
    import numpy as np

    return np.asarray(image)


def comment(facts: Mapping[str, str]) -> str:
    """Return the facts as they stand in a file: that a model made it, and which."""
    return msgspec.json.encode({"made_by": "a generative model", **facts}).decode()


def _ignored(_done: int, _total: int) -> None:
    """Hear nothing."""
