"""Rows of different lengths in one flat array: no padding stored, padded only when a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """`starts[i], starts[i] + 1, ...`, `lengths[i]` of them, for every `i` one after the other."""
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within


@dataclass(frozen=True)
class Ragged:
    """Row `r` is `values[offsets[r]:offsets[r + 1]]`.

    Attributes:
        values: All rows one after the other, `(total, ...)`.
        offsets: Where each row starts, and the end of the last, `(rows + 1,)`.
    """

    values: Array
    offsets: NDArray[np.int64]

    @classmethod
    def from_rows(cls, rows: Sequence[Any], dtype: Any) -> Ragged:
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        total = int(lengths.sum())
        if any(isinstance(row, np.ndarray) and row.ndim > 1 for row in rows[:1]):
            values = np.concatenate(rows).astype(dtype, copy=False)
        else:
            values = np.fromiter((value for row in rows for value in row), dtype=dtype, count=total)
        return cls(values, np.concatenate(([0], np.cumsum(lengths))))

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of all parts, one part after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), np.concatenate(([0], np.cumsum(lengths))))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def lengths_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The lengths of the given rows, without a look at any other."""
        lengths: NDArray[np.int64] = self.offsets[rows + 1] - self.offsets[rows]
        return lengths

    def padded(self, rows: NDArray[np.int64], fill: float, least: int = 0) -> tuple[Array, NDArray[np.bool_]]:
        """The given rows as one rectangle and a mask that is True where a value is real.

        Args:
            rows: Their numbers.
            fill: What stands where no value is.
            least: Width of the rectangle at least.

        Returns:
            `(len(rows), longest, ...)` in the values' dtype, filled up with `fill`, and its mask `(len(rows), longest)`.
        """
        starts, lengths = self.offsets[rows], self.lengths_of(rows)
        longest = int(lengths.max(initial=least))
        mask = np.arange(longest) < lengths[:, None]
        padded = np.full((len(rows), longest, *self.values.shape[1:]), fill, dtype=self.values.dtype)
        padded[mask] = self.values[spans(starts, lengths)]
        return padded, mask

    def select(self, rows: NDArray[np.int64]) -> Ragged:
        """The given rows alone, in that order."""
        lengths = self.lengths_of(rows)
        values = self.values[spans(self.offsets[rows], lengths)]
        return Ragged(values, np.concatenate(([0], np.cumsum(lengths))))
