"""A teacher from nothing: a BERT of a shape and a vocabulary, whose weights are still random."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, PreTrainedTokenizerBase

from stillhouse.config import TeacherConfig
from stillhouse.data.seeds import FRESH_TEACHER, stage_seed
from stillhouse.documents import read_json
from stillhouse.errors import UserError
from stillhouse.files import free_space, not_ours, sweep, write_folder
from stillhouse.models.architecture import skeleton
from stillhouse.models.checkpoint import BUNDLED_NAME, OFFLINE, Checkpoint, find_checkpoint
from stillhouse.models.loading import build_encoder, load_tokenizer, lowers_case, same_tokens
from stillhouse.models.saving import save_model
from stillhouse.models.spec import Shape, is_layers_by_width, read_shape
from stillhouse.models.vocabulary_file import POSITIONS, read_vocabulary
from stillhouse.task import NO_HEAD
from stillhouse.teachers.kept_models import find_kept, teachers_root, write_checksum

FORMAT = 1
PLACE = "STILLHOUSE_CACHE"
HEAD_WIDTH = 64  # of BERT
MOST_HEADS = 12  # where the width is no multiple of that
MOST_LAYERS = 1000


def find_teacher(config: TeacherConfig) -> Checkpoint:
    """The teacher that a run names: a model that is there, or a new one.

    Raises:
        UserError: As `find_checkpoint`, or `new_teacher`.
    """
    if is_layers_by_width(config.source):
        return new_teacher(config.source, config.vocab, config.seed)
    return find_checkpoint(config.source)


def new_teacher(spec: str, vocab: str | None, seed: int) -> Checkpoint:
    """A new BERT without a head, as a model folder that is kept in the user's cache under what it is made of.

    Args:
        spec: `LxH`, layers x width.
        vocab: See `read_vocabulary`; None = the vocabulary of the bundled encoder.
        seed: Of the teacher; its weights are drawn from the stream `FRESH_TEACHER`.

    Raises:
        UserError: There is no such shape or vocabulary, or no room for the model.
    """
    shape = read_shape(spec, "teacher")
    if shape is None or shape.layers > MOST_LAYERS:
        raise UserError(
            f"no new teacher can be made as {spec!r}", expected=f"LxH such as 4x256: layers, at most {MOST_LAYERS:,}, x width"
        )
    tokenizer = _bundled_tokenizer() if vocab is None else read_vocabulary(vocab)
    config = _config(shape, tokenizer)
    kept = teachers_root() / _key(config, tokenizer, seed)
    found = _find(kept, config, tokenizer)
    if found is None:
        _make(kept, config, tokenizer, seed)
        found = find_checkpoint(str(kept))
    note = _described(config, tokenizer, BUNDLED_NAME if vocab is None else vocab)
    return replace(found, name=f"bert-{shape}", source=spec, notes=(note,))


def _bundled_tokenizer() -> Any:
    tokenizer: Any = load_tokenizer(find_checkpoint(OFFLINE))
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _config(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> BertConfig:
    width = shape.width
    fitting = max(count for count in range(1, MOST_HEADS + 1) if width % count == 0)
    return BertConfig(
        vocab_size=1 + max(tokenizer.get_vocab().values()),
        hidden_size=width,
        num_hidden_layers=shape.layers,
        num_attention_heads=fitting if width % HEAD_WIDTH else width // HEAD_WIDTH,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
    )


def _described(config: Any, tokenizer: Any, vocab: str) -> str:
    layers, heads, width = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
    why = f" (the width is no multiple of {HEAD_WIDTH})" if width % HEAD_WIDTH else ""
    case = "text is lower-cased" if lowers_case(tokenizer) else "capital letters stay as they are"
    return (
        f"a new BERT with random weights: {layers} layer{_s(layers)} x {width}, "
        f"{heads} head{_s(heads)} of {width // heads}{why}, feed-forward {config.intermediate_size}; "
        f"{config.vocab_size:,} tokens of {vocab}, {case}"
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _key(config: BertConfig, tokenizer: Any, seed: int) -> str:
    """What decides the model, as a name."""
    rules = read_json(tokenizer.backend_tokenizer.to_str(), "the tokenizer")
    parts = [FORMAT, config.num_hidden_layers, config.hidden_size, seed, rules, tokenizer.special_tokens_map]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _find(kept: Path, config: BertConfig, tokenizer: Any) -> Checkpoint | None:
    """The model that is kept, where it is whole; else nothing of ours is left there.

    Raises:
        UserError: What is there is another user's, or a link.
    """
    if not os.path.lexists(kept):
        return None
    if reason := not_ours(kept):
        raise UserError(
            f"{reason}, where a teacher is kept",
            expected="a folder that nobody else writes",
            fix=f"set {PLACE} to a folder of your own",
        )
    if find_kept(kept, lambda _: None):
        try:
            found = find_checkpoint(str(kept))
            names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
            has_shape = all(getattr(found.config, name) == getattr(config, name) for name in names)
            if has_shape and _same_tokenizer(load_tokenizer(found), tokenizer):
                return found
        except UserError:  # a damaged file beside the weights
            pass
    shutil.rmtree(kept, ignore_errors=True)
    return None


def _same_tokenizer(one: Any, other: Any) -> bool:
    has_same_words = one.special_tokens_map == other.special_tokens_map and one.model_max_length == other.model_max_length
    return has_same_words and same_tokens(one, other)


def _make(kept: Path, config: BertConfig, tokenizer: Any, seed: int) -> None:
    needed, free = sum(tensor.nbytes for tensor in skeleton(config).state_dict().values()), _room(kept)
    if needed > free:
        raise UserError(
            f"a teacher of {config.num_hidden_layers}x{config.hidden_size} takes {needed / 2**30:,.1f} GiB, "
            f"there is room for {free / 2**30:,.1f} GiB",
            expected="a model that fits into memory and the cache",
            fix="ask for fewer layers or a smaller width",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage_seed(seed, FRESH_TEACHER))
        encoder = build_encoder(config, NO_HEAD)

    def write(folder: Path) -> None:
        save_model(encoder, tokenizer, folder)
        write_checksum(folder)

    sweep(kept.parent)
    write_folder(kept, write, place=PLACE, replaces=False)


def _room(kept: Path) -> float:
    """Bytes of memory, or of the disk where they are fewer; of the disk alone where the system does not say more."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return free_space(kept)
    return min(memory, free_space(kept))
