"""Teacher features on disk: computed once a row, stored without padding, in shards that are whole or absent.

A store is a folder of shards for one teacher at one precision. A row's key is a digest of what the teacher was given, its token
and segment ids; so the same text is found again by any run, split or method, and another text never is.

Two processes that fill one store write shards of different names. Columns are read through when a process first wants them,
against their checksums; a damaged shard is named, deleted, and its rows are computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.data.ragged import Ragged, spans
from stillhouse.data.text import Rows
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import UserError
from stillhouse.features import PARTS, Attention, Feature, Features, Needs, layers_of
from stillhouse.files import cache_folder, given_path, is_ours, not_ours, sweep
from stillhouse.sealed import read_sealed, write_sealed
from stillhouse.teachers.shard import FORMAT, Damaged, Keys, Shard, has_mark, open_shard, write_shard

ABOUT = "store.json"
STORE_MARK = "teacher features"  # by which a folder is known to be ours
Say = Callable[[str], None]


def row_keys(encoded: Encoded) -> Keys:
    """For every row a digest of what a model is given, `(rows, 2)` of 64 bits."""
    digests = bytearray()
    for ids, segments in zip(_rows(encoded.input_ids), _rows(encoded.token_type_ids), strict=True):
        digest = hashlib.blake2b(ids, digest_size=16)
        digest.update(segments)
        digests += digest.digest()
    return np.frombuffer(bytes(digests), dtype=np.uint64).reshape(-1, 2)


def _rows(ragged: Ragged) -> Iterator[bytes]:
    values = np.ascontiguousarray(ragged.values, dtype=np.int32)
    for start, end in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True):
        yield values[start:end].tobytes()


@dataclass
class Index:
    """Where the rows of a text are in a store.

    Attributes:
        keys: Of the rows.
        lengths: Tokens of every row.
        shards: All of them.
        places: By feature: for every row its shard, -1 where none has it, and its number there.
    """

    keys: Keys
    lengths: Rows
    shards: list[Shard]
    places: dict[Feature, tuple[Rows, Rows]] = field(default_factory=dict)

    def lacking(self) -> NDArray[np.bool_]:
        """Which rows lack a column."""
        lacks = np.zeros(len(self.lengths), dtype=bool)
        for shard, _ in self.places.values():
            lacks |= shard < 0
        return lacks

    def missing(self) -> list[tuple[Needs, Rows]]:
        """What has to be computed: features, and the rows that lack just these; of rows with the same text the first."""
        lacked = np.stack([shard < 0 for shard, _ in self.places.values()], axis=1)
        rows = np.flatnonzero(lacked.any(axis=1))
        _, first = np.unique(self.keys[rows], axis=0, return_index=True)
        rows = rows[np.sort(first)]
        groups, group = np.unique(lacked[rows], axis=0, return_inverse=True)
        group = group.reshape(-1)
        return [(frozenset(compress(self.places, columns)), rows[group == number]) for number, columns in enumerate(groups)]

    def read(self, feature: Feature, rows: Rows, tokens: int) -> Tensor:
        """A feature of some rows, padded with zeros: `(rows, tokens, width)`, or `(rows, width)`.

        Args:
            feature: Of heads side by side.
            rows: Numbers in the text; the store has all of them.
            tokens: Of the longest row in the batch.
        """
        shards, numbers = self.places[feature][0][rows], self.places[feature][1][rows]
        first = self.shards[int(shards[0])]
        like = first.columns[first.holds(feature) or feature]
        by_token, width = feature in first.by_token, like.shape[1]
        flat = like.new_zeros(len(rows) * (tokens if by_token else 1), width)
        for number in np.unique(shards):
            shard = self.shards[number]
            where = np.flatnonzero(shards == number)
            source, target = numbers[where], where
            held = shard.holds(feature) or feature
            if held in shard.by_token:
                source = shard.starts[source]
            if by_token:
                lengths = self.lengths[rows[where]]
                source, target = spans(source, lengths), spans(where * tokens, lengths)
            values = shard.columns[held].index_select(0, torch.from_numpy(source))
            flat.index_copy_(0, torch.from_numpy(target), values)
        return flat.view(len(rows), tokens, width) if by_token else flat

    def features(self, needs: Needs, rows: Rows, tokens: int) -> Features:
        """The Features of some rows; logits of tokens are those of all tokens."""
        about = {layer: self._about(layer) for layer in layers_of(needs, *PARTS)}
        tensors = {feature: self.read(feature, rows, tokens) for feature in needs}
        for feature in needs:
            if feature.name in PARTS:
                tensors[feature] = _heads(tensors[feature], about[feature.layer]["heads"])
        return Features(tensors, {layer: Attention(own["scaling"], own["window"]) for layer, own in about.items()})

    def _about(self, layer: int) -> dict[str, Any]:
        """Heads, scaling and window of a layer."""
        return next(shard.attentions[layer] for shard in self.shards if layer in shard.attentions)


def _heads(vectors: Tensor, heads: int) -> Tensor:
    batch, tokens, width = vectors.shape
    return vectors.view(batch, tokens, heads, width // heads).transpose(1, 2)


def store_root(folder: str | None) -> Path:
    """The folder of all stores: the given one, else in the user's cache.

    Raises:
        UserError: It can be none.
    """
    if folder is None:
        return cache_folder("features")
    if folder:
        return given_path(folder, "--store")
    raise UserError(f"--store {folder!r} names no folder", expected="a folder", fix="leave --store out for the user's cache")


def stores_in(root: Path) -> dict[Path, dict[str, Any]]:
    """The stores of a folder, and what each says of itself; what else may be in it is none of ours."""
    folders = filter(is_ours, (about.parent for about in sorted(root.glob(f"*/{ABOUT}"))))
    described = ((folder, _description(folder)) for folder in folders)
    return {store: content for store, content in described if content is not None}


def _description(store: Path) -> dict[str, Any] | None:
    """What a folder says of itself; None where it is no store of ours."""
    about = store / ABOUT
    with suppress(OSError, UserError):
        if is_ours(about) and (content := read_sealed(about)).get("stillhouse") == STORE_MARK:
            return content
    return None


def shard_paths(store: Path) -> list[Path]:
    """The shards of a store."""
    return sorted(store.glob("*.safetensors"))


def used_bytes(root: Path) -> int:
    """What all stores take."""
    total = 0
    for path in (path for store in stores_in(root) for path in shard_paths(store)):
        with suppress(OSError):  # another process may have removed it
            total += path.stat().st_size
    return total


# Columns that this process has read through, by file, time and size.
_verified: dict[tuple[Path, int, int], set[Feature]] = {}


class FeatureStore:
    """The features of one teacher at one precision.

    Args:
        root: The folder of all stores.
        teacher: Digest of the teacher's class, configuration and weights.
        precision: Of its forward pass, and of what is stored but logits: `bf16` or `fp32`.
        name: What people call the teacher.
        may_hold: Keep in this process what cannot be written.
        say: Told what happens to damaged shards.
    """

    def __init__(
        self,
        root: Path,
        teacher: str,
        precision: str,
        *,
        name: str = "",
        may_hold: bool = False,
        say: Say = lambda _: None,
    ) -> None:
        parts = [FORMAT, teacher, precision, version("transformers")]
        self.folder = root / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._about = {"stillhouse": STORE_MARK, "teacher": name, "precision": precision, "format": FORMAT}
        self._say = say
        self.may_hold = may_hold
        self._writes = True
        self._in_memory: list[Shard] = []

    def index(self, keys: Keys, lengths: Rows, needs: Needs) -> Index:
        """Where the rows with these keys are; shards that turn out to be damaged are deleted on the way.

        Args:
            keys: Of the rows.
            lengths: Their tokens.
            needs: Which features are wanted; CLS vectors are found in hidden states, too.
        """
        index = Index(keys, lengths, [])
        order = np.argsort(keys[:, 0], kind="stable")
        ranked = keys[order]
        for feature in sorted(needs):
            index.places[feature] = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.int64)
        if not self._foreign():
            with suppress(OSError):
                os.utime(self._mark())
        for shard in self._open():
            useful = {feature: held for feature in needs if (held := shard.holds(feature))}
            if not useful:
                continue
            firsts = np.searchsorted(ranked[:, 0], shard.keys[:, 0], side="left")
            lasts = np.searchsorted(ranked[:, 0], shard.keys[:, 0], side="right")
            counts = lasts - firsts
            numbers = np.repeat(np.arange(len(shard.keys)), counts)  # the same words may stand in it several times
            rows = order[spans(firsts, counts)]
            same = keys[rows, 1] == shard.keys[numbers, 1]
            rows, numbers = rows[same], numbers[same]
            if not len(rows) or not self._is_whole(shard, useful.values()):
                continue
            index.shards.append(shard)
            for feature in useful:
                shard_of, number_of = index.places[feature]
                new = shard_of[rows] < 0
                shard_of[rows[new]], number_of[rows[new]] = len(index.shards) - 1, numbers[new]
        return index

    def add(
        self,
        keys: Keys,
        lengths: Rows,
        columns: dict[Feature, Tensor],
        by_token: Needs,
        attentions: dict[int, dict[str, Any]],
    ) -> None:
        """Adds rows.

        Args:
            keys: Of the rows.
            lengths: Their tokens.
            columns: By feature; tokens of all rows one after the other.
            by_token: Which columns have a vector for each token.
            attentions: Heads, scaling and window by layer.

        Raises:
            UserError: The disk is full, or refuses, and nothing is kept in memory.
        """
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        shard = Shard(path, keys, starts, columns, by_token, attentions)
        if self._writes:
            try:
                write_shard(shard)
            except UserError as error:
                if not self.may_hold:
                    raise
                self.hold(error.given)
        if not self._writes:
            self._in_memory.append(shard)

    def hold(self, reason: str) -> None:
        """From now on what is added is kept in memory, and not written."""
        self._writes = False
        self._say(f"  the teacher's scores cannot be kept ({reason}): this run holds them in memory")

    def _mark(self) -> Path:
        """Says in the folder, where there is one, whose features it holds: without that nobody would find them."""
        about = self.folder / ABOUT
        if self.folder.is_dir() and not self._foreign() and _description(self.folder) is None:
            with suppress(UserError):
                write_sealed(about, self._about)
        return about

    def _foreign(self) -> str:
        """Why nothing in the folder is used or written, where others have made it or put a link in its place."""
        for path in (self.folder, self.folder / ABOUT):
            with suppress(OSError):
                if reason := not_ours(path):
                    return reason
        return ""

    def create(self) -> None:
        """Makes the folder.

        Raises:
            UserError: It cannot be made, and nothing is kept in memory.
        """
        try:
            if reason := self._foreign():
                raise UserError(reason)
            write_sealed(self.folder / ABOUT, self._about)
        except UserError as error:
            if not self.may_hold:
                raise
            self.hold(error.given)
        else:
            sweep(self.folder)

    def _open(self) -> list[Shard]:
        shards = list(self._in_memory)
        refused: list[tuple[Path, OSError]] = []
        if reason := self._foreign():
            self._say(f"  kept teacher features are not used: {reason}")
            return shards
        for path in shard_paths(self.folder):
            try:
                if reason := not_ours(path):
                    self._say(f"  kept teacher features are not used: {reason}")
                    continue
                shards.append(open_shard(path))
            except Damaged as error:
                self._drop(path, error)
            except OSError as error:  # not its content: it may be readable another time
                if path.exists():
                    refused.append((path, error))
        if refused:
            first, problem = refused[0]
            others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            self._say(f"  kept teacher features cannot be read: {first}: {problem.strerror}{others}")
        return shards

    def _is_whole(self, shard: Shard, features: Iterable[Feature]) -> bool:
        """Whether columns are as they were written; looked at once a process."""
        if shard in self._in_memory:
            return True
        state = (0, 0)
        with suppress(OSError):  # another process may have removed it
            stat = shard.path.stat()
            state = stat.st_mtime_ns, stat.st_size
        done = _verified.setdefault((shard.path, *state), set())
        try:
            shard.verify(set(features) - done)
        except Damaged as error:
            self._drop(shard.path, error)
            return False
        done.update(features)
        return True

    def _drop(self, path: Path, error: Damaged) -> None:
        with suppress(OSError):
            if has_mark(path):
                self._say(f"  kept teacher features are damaged and are deleted: {path}: {error}")
                path.unlink()
            else:
                self._say(f"  {path} is not used: it is no shard, or damaged ({error}); delete it if it is none of yours")
