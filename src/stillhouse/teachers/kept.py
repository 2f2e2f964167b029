"""What is kept in the user's cache: how much it is, whether it is whole, and room for more.

These are features of teachers, fitted teachers, general students, and corpora.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.corpus.kept_corpus import corpora_in, corpora_root, corpus_damage, header_of
from stillhouse.documents import read_json
from stillhouse.errors import UserError, listed
from stillhouse.files import LEFTOVERS, is_leftover, is_ours, not_ours, temporary_beside
from stillhouse.sealed import read_sealed
from stillhouse.task import MASKED_LM
from stillhouse.teachers.kept_models import is_damaged, models_in, students_root, teachers_root
from stillhouse.teachers.shard import Damaged, has_mark, open_shard
from stillhouse.teachers.store import ABOUT, shard_paths, stores_in


@dataclass(frozen=True)
class KeptStore:
    """One store.

    Attributes:
        folder: Where it is; its name is the store's.
        teacher: What people call its teacher.
        precision: Of its features.
        used: When it was last used, in seconds since 1970.
        size: Bytes of its shards.
        rows: How many different texts it has.
        columns: Which features.
    """

    folder: Path
    teacher: str
    precision: str
    used: float
    size: int
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class KeptFolder:
    """A model or a corpus, a folder of its own.

    Attributes:
        folder: Where it is; its name is its own.
        about: What it is, in words.
        used: When it was last used, in seconds since 1970.
        size: Bytes of its files.
    """

    folder: Path
    about: str
    used: float
    size: int


def kept_folders() -> dict[Path, list[KeptFolder]]:
    """Fitted teachers, general students and corpora by the folder of the cache that they are in, the one last used first."""
    roots: dict[Path, list[KeptFolder]] = {
        root: _described(models_in(root), _about_model) for root in (teachers_root(), students_root())
    }
    return roots | {corpora_root(): _described(corpora_in(corpora_root()), _about_corpus)}


def _described(folders: Iterable[Path], about: Callable[[Path], str]) -> list[KeptFolder]:
    found = []
    for folder in folders:
        with suppress(OSError):  # another process may have removed it
            size = sum(path.stat().st_size for path in folder.iterdir())
            found.append(KeptFolder(folder, _said(about, folder), folder.stat().st_mtime, size))
    return sorted(found, key=lambda one: -one.used)


def _said(about: Callable[[Path], str], folder: Path) -> str:
    try:
        return about(folder)
    except (OSError, UserError, LookupError, TypeError, ValueError, AttributeError):  # a run has its own words for it
        return "?"


def _about_model(folder: Path) -> str:
    config: dict[str, Any] = read_json((folder / "config.json").read_bytes(), "config.json")
    architecture = str(config["architectures"][0])
    layers, width = (config.get(one, config.get(other)) for one, other in _SIZES)
    labels = list(map(str, config["id2label"].values())) if _has_labels(architecture) else []
    said = ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
    return f"{layers}x{width} {architecture}" + (f": {said}" if said else "")


_SIZES = ("num_hidden_layers", "n_layers"), ("hidden_size", "dim")  # DistilBERT has names of its own


def _has_labels(architecture: str) -> bool:
    return "For" in architecture and f"For{MASKED_LM.name}" not in architecture


def _about_corpus(folder: Path) -> str:
    header = header_of(folder)
    blocks = header["train"]["blocks"] + header["held_out"]["blocks"]
    sources = ", ".join(dict.fromkeys(header["source"]))
    return f"{sources}: {header['documents']:,} documents, {blocks:,} blocks of {header['block_length']} tokens"


def damaged_folders() -> Iterator[tuple[Path, str]]:
    """Reads every model and corpus through; those that are not as they were written, and in what."""
    for root in (teachers_root(), students_root()):
        for folder in models_in(root):
            yield from _found(folder, lambda one: "the checksum of its weights does not agree" if is_damaged(one) else "")
    for folder in corpora_in(corpora_root()):
        yield from _found(folder, corpus_damage)


def _found(folder: Path, damage: Callable[[Path], str]) -> Iterator[tuple[Path, str]]:
    try:
        problem = damage(folder)
    except OSError as error:
        problem = str(error)
    if problem:
        yield folder, problem


def kept_stores(root: Path) -> list[KeptStore]:
    """All stores, the one last used first; rows of damaged shards are not counted."""
    stores = []
    for folder, about in stores_in(root).items():
        keys: set[bytes] = set()
        columns: set[str] = set()
        size = 0
        for path in filter(is_ours, shard_paths(folder)):
            try:
                size += path.stat().st_size
                shard = open_shard(path)
            except (Damaged, OSError):
                continue
            keys.update(map(bytes, shard.keys))
            columns.update(map(str, shard.columns))
        used = 0.0
        with suppress(OSError):  # another process may have removed it
            used = (folder / ABOUT).stat().st_mtime
        entry = (str(about.get("teacher", "?")), str(about.get("precision", "?")), used)
        stores.append(KeptStore(folder, *entry, size, len(keys), tuple(sorted(columns))))
    return sorted(stores, key=lambda store: -store.used)


def damaged_shards(root: Path) -> Iterator[tuple[Path, str]]:
    """Reads every store through; descriptions and shards that are not as they were written, and in what."""
    for about in sorted(root.glob(f"*/{ABOUT}")):
        try:
            if reason := not_ours(about):
                yield about, reason.removeprefix(f"{about} ")
            else:
                read_sealed(about)
        except (OSError, UserError) as error:
            yield about, str(error).removeprefix(f"{about} ").partition("\n")[0]
    for folder in stores_in(root):
        for path in shard_paths(folder):
            try:
                if reason := not_ours(path):
                    yield path, reason.removeprefix(f"{path} ")
                    continue
                shard = open_shard(path)
                shard.verify(shard.columns)
            except (Damaged, OSError) as error:
                yield path, str(error)


def remove_kept(kept: Sequence[KeptStore | KeptFolder], names: Sequence[str]) -> int:
    """Deletes stores, models and corpora.

    Args:
        kept: What there is.
        names: Which of them; the beginnings of their names are enough; none = all.

    Returns:
        Bytes that were freed.

    Raises:
        UserError: A name fits none, or several; or a file cannot be deleted.
    """
    if names and not kept:
        raise UserError("nothing is kept", expected="the beginning of a name", fix="nothing is to be done")
    chosen = {}
    for name in names:
        found = [one for one in kept if one.folder.name.startswith(name)]
        if len(found) != 1 or not name:
            raise UserError(
                f"{name!r} is the beginning of {len(found)} names",
                expected=f"one of {listed(one.folder.name[:8] for one in kept)}",
                fix="`stillhouse store ls` lists them",
            )
        chosen[found[0].folder] = found[0]
    if not names:
        chosen = {one.folder: one for one in kept}
    for one in chosen.values():
        try:
            _remove_store(one.folder) if isinstance(one, KeptStore) else _remove_folder(one.folder)
        except OSError as error:
            raise UserError(
                f"{error.filename or one.folder} cannot be deleted: {error.strerror}",
                expected="a file that you may delete",
                fix="see to whom it belongs, then give the same command again",
            ) from error
    return sum(one.size for one in chosen.values())


def _remove_store(folder: Path) -> None:
    """What is ours in it, the mark last: a kill leaves a store."""
    own = [*filter(has_mark, shard_paths(folder)), *filter(is_leftover, folder.glob(LEFTOVERS)), folder / ABOUT]
    for path in filter(is_ours, own):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # a run that fills it meanwhile keeps its shards, and its folder
        folder.rmdir()


def _remove_folder(folder: Path) -> None:
    """Under a name that is swept: no run takes what a kill leaves."""
    with suppress(FileNotFoundError):  # another process was faster
        shutil.rmtree(folder.replace(temporary_beside(folder)))
