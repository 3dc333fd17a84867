"""Which noise levels LongCat-Video goes through, laid into diffusers' FlowMatchEuler scheduler.

Timesteps are 1000 times sigma. Source: LongCat-Video technical report (Meituan, 2025) and the
numbers of its implementation. Only the child process imports this: torch is at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from diffusers import FlowMatchEulerDiscreteScheduler

_TIMESTEPS = 1000
_LEAST = 0.001  # sigma of the last base step
_DISTILLED = 50  # levels that the adapter was distilled on: 20, 40, ..., 1000
_TAIL_FROM, _TAIL_STEP = 500, 50


class Course(NamedTuple):
    """A way through the noise in so many `steps`, from pure noise on.

    `distilled`: levels that the distilled adapter knows. `tail`: below the middle, ten even steps
    more, for fine structure. `start`: begin at this sigma and not at 1, as refinement does.
    """

    steps: int
    distilled: bool = False
    tail: bool = False
    start: float = 0.0


def unshifted(course: Course) -> torch.Tensor:
    """Return the sigmas before the shift, float32 (steps,), the highest first."""
    if not course.distilled:
        return torch.linspace(1, _LEAST, course.steps, dtype=torch.float32)
    stride = _TIMESTEPS // _DISTILLED
    levels = [_TIMESTEPS - stride * (_DISTILLED * k // course.steps) for k in range(course.steps)]
    return torch.tensor(levels, dtype=torch.float32) / _TIMESTEPS


def follow(
    scheduler: FlowMatchEulerDiscreteScheduler,
    course: Course,
    device: Any = "cpu",  # noqa: ANN401 - a device of torch
) -> torch.Tensor:
    """Set a scheduler to a course; return its timesteps, float32 (n,). The shift is its own.

    With a tail or a start, `n` is another number than the course's steps.
    """
    scheduler.set_timesteps(sigmas=unshifted(course).numpy(), device=device)
    times = scheduler.timesteps
    if course.start:
        first = times.new_tensor([course.start * _TIMESTEPS])
        times = torch.cat([first, times[times < first]])
    elif course.tail and not course.distilled:
        tail = torch.arange(_TAIL_FROM, 0, -_TAIL_STEP, dtype=times.dtype, device=times.device)
        times = torch.cat([times[times > _TAIL_FROM], tail])
    else:
        scheduler.set_begin_index(0)
        return times
    scheduler.timesteps = times
    scheduler.sigmas = torch.cat([times / _TIMESTEPS, times.new_zeros(1)])
    scheduler.set_begin_index(0)
    return times
