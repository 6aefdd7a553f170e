"""Independent pieces of one scan's work, on the threads torch may use: NumPy and SciPy release the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(action: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results of ``action`` in the order of ``items``; an exception of any piece is raised here.

    As many threads as ``torch.get_num_threads()``: whoever runs several workers on one machine sets that already.
    """
    workers = min(torch.get_num_threads(), len(items))
    if workers <= 1:
        return [action(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(action, items))
