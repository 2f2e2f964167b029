"""Model folders of the Hugging Face hub: from the local cache, else downloaded; a hub out of reach is said at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants, errors

from stillhouse.errors import UserError
from stillhouse.machine.network import is_reachable
from stillhouse.models.model_folder import CONVERT, SHARDS, WEIGHTS

WANTED = [
    WEIGHTS,
    SHARDS,
    "model-*.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
]
INSTEAD = "name a local model folder, or leave --teacher out to use the bundled encoder"
_hub: Any = huggingface_hub
_http_error: Any = errors.HfHubHTTPError.__mro__[1]  # the HTTP library's own base class, whichever library it is


def cached_folder(repository: str) -> Path | None:
    """The newest copy of a repository in the local cache, complete or not; None where there is none."""
    file = _hub.try_to_load_from_cache(repository, "config.json", cache_dir=constants.HF_HUB_CACHE)
    return Path(file).parent if isinstance(file, str) else None


def download_folder(repository: str) -> Path:
    """Downloads config, safetensors and tokenizer of a repository (never a pickle) into the hub's cache.

    Args:
        repository: `owner/name`.

    Raises:
        UserError: The hub is out of reach, or the repository does not exist, is closed, or has no safetensors.
    """
    if constants.is_offline_mode():
        raise UserError(
            f"{repository} is not complete in the local cache, and HF_HUB_OFFLINE forbids to download it",
            expected="a local folder or a hub id that is cached",
            fix=f"unset HF_HUB_OFFLINE; or {INSTEAD}",
        )
    if not is_reachable():
        raise UserError(
            f"the hub {constants.ENDPOINT} cannot be reached, and {repository} is not complete in the local cache",
            expected="a local folder or a hub in reach",
            fix=INSTEAD,
        )
    bars = sys.stderr.isatty() and not _hub.utils.are_progress_bars_disabled()
    try:
        files = [sibling.rfilename for sibling in _hub.HfApi().model_info(repository, timeout=10).siblings]
        _check_files(repository, files)
        if not bars:
            _hub.utils.disable_progress_bars()
        return Path(
            _hub.snapshot_download(repository, cache_dir=constants.HF_HUB_CACHE, allow_patterns=WANTED, ignore_patterns=["*/*"])
        )
    except errors.GatedRepoError as error:
        raise UserError(
            f"{repository} is closed to you",
            expected="a repository that you may read",
            fix="accept its terms on the hub and log in with `hf auth login`",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"the hub has no model {repository} (or it is private)",
            expected="a hub id owner/name, or a local folder",
            fix="check the spelling; log in with `hf auth login` if it is private",
        ) from error
    except (errors.LocalEntryNotFoundError, _http_error, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{repository} could not be downloaded: {reason}", fix=f"try again; or {INSTEAD}") from error


def _check_files(repository: str, files: list[str]) -> None:
    if WEIGHTS in files or SHARDS in files:
        return
    pickled = "pytorch_model.bin" in files or "pytorch_model.bin.index.json" in files
    held = "only pickled weights, a format that can run code when it is read" if pickled else "no weights"
    raise UserError(
        f"{repository} has {held}",
        expected=f"a repository with {WEIGHTS}",
        fix=CONVERT if pickled else "choose another model",
    )
