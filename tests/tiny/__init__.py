"""Models of a few kilobytes, in the real classes, with random weights, saved as full ones are."""

from importlib.util import find_spec

import pytest

if not all(find_spec(name) for name in ("torch", "diffusers", "transformers")):
    pytest.skip(
        "NOT CHECKED: models on tiny weights: pip install 'adgenxai[models]'",
        allow_module_level=True,
    )

import torch

torch.set_num_threads(1)  # a tiny model gains nothing from more, and others have this machine too
