"""Model services on weights of a few kilobytes: real classes, real files, our own way of loading.

`suite.py` holds what each keeps; `tests/tiny/` makes the weights.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
_FOREIGN = ("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The model libraries warn of each other; what they warn of is none of our doing."""
    for item in items:
        if HERE in item.path.parents:
            for rule in _FOREIGN:
                item.add_marker(pytest.mark.filterwarnings(rule))
