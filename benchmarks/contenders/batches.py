"""Ready batches for the contenders that are no part of Stillhouse; needs torch and numpy alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

Batch = dict[str, torch.Tensor]


class TimedBatches:
    """Batches whose use is timed: from the request that follows the warm-up to the one that finds no more.

    Args:
        folder: Of the workload.
        kind: `padded`, shuffled rows padded to 128; `dynamic`, shuffled rows padded to the longest of the batch; `sorted`,
            rows of like length together, batches shuffled.
        steps: How many batches are timed.
        warm_up: How many come before them.
        size: Rows of a batch.
        length: What `padded` pads to.
    """

    def __init__(self, folder: Path, kind: str, steps: int, *, warm_up: int = 2, size: int = 32, length: int = 128) -> None:
        rows = np.load(folder / "rows.npz")
        ids, offsets, labels = rows["ids"], rows["offsets"], rows["labels"]
        lengths = np.diff(offsets)
        random = np.random.default_rng(0)
        order = random.permutation(len(lengths))
        if kind == "sorted":
            order = order[np.argsort(lengths[order], kind="stable")]
        parts = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        # Those that are timed are spread evenly over all, which where they are sorted are of all lengths.
        count = min(steps, len(parts))
        timed = (np.arange(count) + 0.5) * len(parts) / count
        chosen = [*random.permutation(len(parts))[:warm_up], *random.permutation(timed.astype(np.int64))]
        parts = [parts[number] for number in chosen]
        self.batches = []
        for part in parts:
            width = length if kind == "padded" else int(lengths[part].max())
            tokens = torch.zeros(len(part), width, dtype=torch.int64)
            for row, number in enumerate(part):
                tokens[row, : lengths[number]] = torch.from_numpy(ids[offsets[number] : offsets[number + 1]].astype(np.int64))
            mask = (torch.arange(width) < torch.from_numpy(lengths[part])[:, None]).long()
            batch = {"input_ids": tokens, "attention_mask": mask, "labels": torch.from_numpy(labels[part])}
            self.batches.append(batch)
        self.warm_up = warm_up
        self.examples = size * (len(parts) - warm_up)
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        started = 0.0
        for number, batch in enumerate(self.batches):
            if number == self.warm_up:
                started = time.perf_counter()
            yield batch
        self.seconds = time.perf_counter() - started
