"""All stores of a folder: what is kept, whether it is whole, and room for new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import UserError
from stillhouse.files import LEFTOVERS
from stillhouse.teachers.shard import Damaged, open_shard
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


def kept_stores(root: Path) -> list[KeptStore]:
    """All stores, the one last used first; rows of damaged shards are not counted."""
    stores = []
    for folder, about in stores_in(root).items():
        keys: set[bytes] = set()
        columns: set[str] = set()
        size = 0
        for path in shard_paths(folder):
            try:
                size += path.stat().st_size
                shard = open_shard(path)
            except (Damaged, OSError):
                continue
            keys.update(map(bytes, shard.keys))
            columns.update(shard.columns)
        used = 0.0
        with suppress(OSError):  # another process may have removed it
            used = (folder / ABOUT).stat().st_mtime
        entry = (str(about.get("teacher", "?")), str(about.get("precision", "?")), used)
        stores.append(KeptStore(folder, *entry, size, len(keys), tuple(sorted(columns))))
    return sorted(stores, key=lambda store: -store.used)


def damaged_shards(root: Path) -> Iterator[tuple[Path, str]]:
    """Reads every shard through; those that are not as they were written, and in what."""
    for folder in stores_in(root):
        for path in shard_paths(folder):
            try:
                shard = open_shard(path)
                shard.verify(shard.columns)
            except (Damaged, OSError) as error:
                yield path, str(error)


def remove_stores(root: Path, names: Sequence[str]) -> int:
    """Deletes stores.

    Args:
        root: The folder of all stores.
        names: The beginnings of their names are enough; none = all.

    Returns:
        Bytes that were freed.

    Raises:
        UserError: A name fits none, or several; or a file cannot be deleted.
    """
    stores = kept_stores(root)
    if names and not stores:
        raise UserError(
            f"no features are kept in {root}",
            expected="the beginning of a store's name",
            fix="nothing is to be done",
        )
    chosen = {}
    for name in names:
        found = [store for store in stores if store.folder.name.startswith(name)]
        if len(found) != 1 or not name:
            raise UserError(
                f"{name!r} is the beginning of {len(found)} stores' names",
                expected=f"one of {', '.join(store.folder.name[:8] for store in stores)}",
                fix="`stillhouse store ls` lists them",
            )
        chosen[found[0].folder] = found[0]
    if not names:
        chosen = {store.folder: store for store in stores}
    for folder in chosen:
        for path in (*shard_paths(folder), *folder.glob(LEFTOVERS), folder / ABOUT):  # the mark last: a kill leaves a store
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"{path} cannot be deleted: {error.strerror}",
                    expected="a file that you may delete",
                    fix="see to whom it belongs, then give the same command again",
                ) from error
        with suppress(OSError):  # a run that fills it meanwhile keeps its shards, and its folder
            folder.rmdir()
    return sum(store.size for store in chosen.values())
