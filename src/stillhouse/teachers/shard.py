"""One file of a store: rows of teacher features without padding, with checksums, mapped into memory.

A safetensors file: keys of the rows, their lengths, and a column for every feature, tokens of all rows one after the other. It
is written beside its place and moved there: a kill leaves it whole or absent.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stillhouse.data.text import Rows
from stillhouse.documents import DocumentError, read_json
from stillhouse.features import Feature, parse_feature
from stillhouse.files import is_ours, write_atomically

FORMAT = 1
COLUMN = "column:"
Keys = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Shard:
    """One file, mapped into memory.

    Attributes:
        path: Where it is.
        keys: Of its rows, `(rows, 2)` of 64 bits.
        starts: Where each row's tokens begin, `(rows + 1,)`.
        columns: By feature: `(tokens, width)`, or `(rows, width)` where a row has one vector.
        by_token: Which columns have a vector for each token.
        attentions: By layer what its queries, keys and values are: heads, scaling, window.
        checksums: Of the columns, as they were written; None of a shard that was not read.
    """

    path: Path
    keys: Keys
    starts: Rows
    columns: dict[Feature, Tensor]
    by_token: frozenset[Feature]
    attentions: dict[int, dict[str, Any]]
    checksums: dict[Feature, int] | None = None

    def holds(self, feature: Feature) -> Feature | None:
        """The column in which a feature is: its own or, for a CLS vector, that of the hidden state."""
        hidden = Feature("hidden_state" if feature.name == "cls" else feature.name, feature.layer)
        return next((held for held in (feature, hidden) if held in self.columns), None)

    def verify(self, features: Iterable[Feature]) -> None:
        """Reads columns through.

        Raises:
            Damaged: One is not as it was written.
        """
        if self.checksums is None:
            return
        for feature in features:
            if self.checksums[feature] != _checksum(self.columns[feature]):
                raise Damaged(f"the checksum of {feature} does not agree")


class Damaged(Exception):
    """A shard is not as it was written; says in what."""


def write_shard(shard: Shard) -> None:
    """Writes a shard to its path.

    Raises:
        UserError: The disk is full, or refuses.
    """
    tensors = {
        "keys": torch.from_numpy(shard.keys.view(np.int64)),
        "lengths": torch.from_numpy(np.diff(shard.starts).astype(np.int32)),
        **{f"{COLUMN}{feature}": tensor.contiguous() for feature, tensor in shard.columns.items()},
    }
    content = {
        "format": FORMAT,
        "tensors": {name: [_checksum(tensor), str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()},
        "by_token": sorted(map(str, shard.by_token)),
        "attentions": {str(layer): entry for layer, entry in shard.attentions.items()},
    }
    about = json.dumps(content, sort_keys=True)
    metadata = {"about": about, "checksum": str(zlib.crc32(about.encode()))}

    def write(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata)  # readable by its owner alone
        temporary.chmod(mode)

    write_atomically(shard.path, write)


def has_mark(path: Path) -> bool:
    """Whether a file of ours begins as a shard does, damaged or not, or is empty: only such are deleted."""
    if not is_ours(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(2**16)
    return not head or sum(mark in head for mark in (b"__metadata__", b'\\"by_token\\"', b'\\"attentions\\"')) >= 2


def open_shard(path: Path) -> Shard:
    """Maps a shard into memory; its columns are verified when they are wanted.

    Raises:
        Damaged: What says what it holds is not as it was written.
        OSError: It cannot be opened.
    """
    with path.open("rb"):  # what the system refuses is no damage
        pass
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if zlib.crc32(metadata["about"].encode()) != int(metadata["checksum"]):
                raise Damaged("the checksum of its description does not agree")
            about = read_json(metadata["about"], "what it says of itself")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, DocumentError) as error:
        raise Damaged(" ".join(str(error).split()) or type(error).__name__) from error
    checksums = {name: entry[0] for name, entry in about["tensors"].items()}
    found = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    if found != {name: entry[1:] for name, entry in about["tensors"].items()}:
        raise Damaged("it does not hold what it says")
    for name in ("keys", "lengths"):
        if _checksum(tensors[name]) != checksums[name]:
            raise Damaged(f"the checksum of {name} does not agree")
    keys, lengths = tensors.pop("keys").numpy().view(np.uint64), tensors.pop("lengths").numpy()
    return Shard(
        path,
        keys,
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        {parse_feature(name.removeprefix(COLUMN)): tensor for name, tensor in tensors.items()},
        frozenset(map(parse_feature, about["by_token"])),
        {int(layer): entry for layer, entry in about["attentions"].items()},
        {parse_feature(name.removeprefix(COLUMN)): value for name, value in checksums.items() if name.startswith(COLUMN)},
    )


def _checksum(tensor: Tensor) -> int:
    flat = tensor.contiguous().view(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy().data) if flat.numel() else 0
