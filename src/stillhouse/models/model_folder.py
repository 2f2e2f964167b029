"""Is this folder a model that can be used? Each thing that may be wrong with it has its own message."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError, shown
from stillhouse.models.architecture import reason_of
from stillhouse.models.quiet import quiet_transformers

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
)
READ = (".json", ".txt", ".model", ".safetensors")  # endings of what is read
MOST_SHARED = 1000  # layers that share their weights
MOST_POSITIONS = 10_000_000  # each takes memory as soon as a model is made
CONVERT = (
    "if you trust it, convert it once with transformers: AutoModelForSequenceClassification (or the class of its task)"
    ".from_pretrained(folder).save_pretrained(folder)"
)


def check_folder(folder: Path, source: str) -> PreTrainedConfig:
    """The configuration of a model folder that holds everything that is needed: config, weights and tokenizer.

    Args:
        folder: Where the files are.
        source: How the user named it, for messages.

    Raises:
        UserError: Something is missing or damaged, or it is no encoder that transformers knows.
    """
    with _readable(source):
        for file in folder.iterdir():
            if file.is_file() and file.suffix in READ:
                file.open("rb").close()
    config = _read_config(folder, source)
    tensors = _check_weights(folder, source)
    _check_counts(config, tensors, source)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(
            f"{source} has no tokenizer",
            expected=f"tokenizer.json (or one of {', '.join(TOKENIZERS[1:])}) beside the weights",
            fix="save it there: AutoTokenizer.from_pretrained(original).save_pretrained(folder)",
        )
    return config


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Names the file that may not be read: elsewhere it would look damaged."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise UserError(f"{error.filename or source} cannot be read: {os.strerror(error.errno or 0)}") from error
        raise UserError(
            f"no permission to read {error.filename or source}",
            expected="a model folder whose files you may read",
            fix="change its permissions (chmod), or copy it",
        ) from error


def _check_counts(config: Any, tensors: int, source: str) -> None:
    """Refuses more than there can be weights for, before anybody tries to make it; ALBERT's layers share theirs."""
    layers = MOST_SHARED if hasattr(config, "num_hidden_groups") else tensors
    limits = {"num_hidden_layers": layers, "num_hidden_groups": tensors, "inner_group_num": tensors}
    limits |= {"num_attention_heads": MOST_POSITIONS, "max_position_embeddings": MOST_POSITIONS}
    for name, most in limits.items():
        count = getattr(config, name, 1)
        if not isinstance(count, int) or not 1 <= count <= most:
            raise UserError(
                f"config.json of {source} says {name} {shown(count)}",
                expected=f"1 to {most:,}; and config.json and weights of the same model (its weights are {tensors} tensors)",
            )
    padding = getattr(config, "pad_token_id", None)
    if isinstance(padding, int) and padding < 0:  # torch would count from the end of the vocabulary
        raise UserError(
            f"config.json of {source} says pad_token_id {padding}",
            expected="the id of a token, counted from 0",
            fix="write the id of the tokenizer's padding token",
        )


def is_complete(folder: Path) -> bool:
    """Whether config, weights and tokenizer are all there, whatever is in them."""
    try:
        weights = weight_files(folder)
    except UserError:
        return False
    tokenizer = any((folder / name).is_file() for name in TOKENIZERS)
    return tokenizer and (folder / "config.json").is_file() and all(file.is_file() for file in weights)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights: one, or the shards that the index names.

    Raises:
        UserError: There are none, or the index is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / SHARDS
    if not index.is_file():
        raise UserError(
            f"{folder} has no weights", expected=f"{WEIGHTS} beside config.json", fix="write them with save_pretrained"
        )
    try:
        shards = sorted(set(read_json(index.read_bytes(), str(index))["weight_map"].values()))
        outside = [shard for shard in shards if Path(shard).name != shard]
    except (OSError, DocumentError, KeyError, TypeError, AttributeError) as error:
        reason = error.reason if isinstance(error, DocumentError) else error
        raise UserError(f"{index} is damaged: {reason}", fix="copy or download it again") from error
    if outside or not shards:
        raise UserError(f"{index} is damaged: its files are {outside}", expected="names of files beside it")
    return [folder / shard for shard in shards]


def _read_config(folder: Path, source: str) -> PreTrainedConfig:
    file = folder / "config.json"
    if not file.is_file():
        inside = [name for name in ("student", "teacher") if (folder / name / "config.json").is_file()]
        fix = f"did you mean {folder / inside[0]}?" if inside else "name the folder that save_pretrained wrote"
        raise UserError(f"{source} has no config.json", expected="a model folder: config, weights, tokenizer", fix=fix)
    try:
        content = read_json(file.read_bytes(), str(file), expected="JSON that save_pretrained wrote")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", expected="JSON that save_pretrained wrote") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no JSON object", expected="JSON that save_pretrained wrote")
    _check_architecture(content, source)
    try:
        with quiet_transformers():
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a family's own code makes of it
        raise UserError(
            f"transformers refuses {file}: {reason_of(error)}", expected="a configuration that save_pretrained wrote"
        ) from error
    if hasattr(config, "auto_map"):
        del config.auto_map  # the stock class is used; a student must not inherit a pointer to foreign code
    return config


def _check_architecture(content: dict[str, Any], source: str) -> None:
    encoder = "an encoder that transformers knows (BERT, RoBERTa, DistilBERT, ELECTRA, XLM-R, ALBERT, ModernBERT, ...)"
    model_type, architectures = content.get("model_type"), content.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)
    ):
        raise UserError(
            f"config.json of {source} says architectures {shown(architectures)}",
            expected='a list of names, such as ["BertForSequenceClassification"]',
            fix="correct it, or leave it out",
        )
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        if content.get("auto_map"):
            raise UserError(
                f"{source} needs code of its own (auto_map in its config.json), which is never executed",
                expected=encoder,
                fix="choose a model whose architecture is part of transformers",
            )
        named = "no model_type" if model_type in (None, "") else f"model_type {shown(model_type)}"
        raise UserError(f"{source} has {named} in its config.json", expected=encoder)
    if content.get("is_encoder_decoder") or content.get("is_decoder"):
        raise UserError(f"{source} is a {model_type} model with a decoder", expected=encoder)
    if model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise UserError(f"{source} is a {model_type} model, which is not an encoder", expected=encoder)
    if content.get("quantization_config"):
        raise UserError(
            f"the weights of {source} are quantized",
            expected="plain floating-point weights",
            fix="name the model that they were made from",
        )


def _check_weights(folder: Path, source: str) -> int:
    """The number of tensors."""
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles and not (folder / WEIGHTS).is_file() and not (folder / SHARDS).is_file():
        raise UserError(
            f"{source} has its weights only in {pickles[0]}, a format that can run code when it is read",
            expected=WEIGHTS,
            fix=CONVERT,
        )
    for file in weight_files(folder):
        if not file.is_file():
            raise UserError(f"{source} lacks {file.name}, which its {SHARDS} names", fix="copy or download the missing file")
    return sum(map(_tensors_in, weight_files(folder)))


def _tensors_in(file: Path) -> int:
    try:
        # Opening reads the header and compares it with the size of the file; no tensor is loaded.
        with safe_open(file, framework="pt") as tensors:
            return len(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is damaged or cut short: {error}",
            expected="a whole safetensors file",
            fix="copy or download it again (a git clone without git-lfs leaves only pointers to the weights)",
        ) from error
