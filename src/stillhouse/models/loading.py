"""Checkpoints and configurations -> models with the head of a task, in fp32 on scaled-dot-product attention."""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stillhouse.documents import read_json
from stillhouse.errors import UserError
from stillhouse.models.checkpoint import Checkpoint, check_weights, head_kind
from stillhouse.models.model_folder import weight_files
from stillhouse.models.quiet import quiet_transformers
from stillhouse.task import Kind, Task

_transformers: Any = transformers


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint: a fast one, with a padding token, whose ids the model knows.

    Raises:
        UserError: There is none that transformers can read without running foreign code, or it does not fit the model.
    """
    try:
        with quiet_transformers():
            tokenizer: Any = _transformers.AutoTokenizer.from_pretrained(
                checkpoint.folder, use_fast=True, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the tokenizer of {checkpoint.source} cannot be loaded: {reason}",
            expected="a tokenizer.json that save_pretrained wrote",
            fix="save the tokenizer of the original model into the folder again",
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {checkpoint.source} is a slow one ({type(tokenizer).__name__})",
            expected="a fast tokenizer (tokenizer.json)",
            fix="convert it with transformers and save it into the folder",
        )
    if tokenizer.pad_token_id is None:
        raise UserError(f"the tokenizer of {checkpoint.source} has no padding token", expected="pad_token to be set")
    size = int(getattr(checkpoint.config, "vocab_size", len(tokenizer)))
    if len(tokenizer) > size:
        raise UserError(
            f"the tokenizer of {checkpoint.source} has {len(tokenizer)} entries, its model knows {size}",
            expected="the tokenizer that the model was trained with",
        )
    return tokenizer


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers cut text alike; how they were last asked to truncate and pad does not matter."""

    def rules(tokenizer: Any) -> dict[str, Any]:
        content: dict[str, Any] = read_json(tokenizer.backend_tokenizer.to_str(), "the tokenizer")
        return {name: value for name, value in content.items() if name not in ("truncation", "padding")}

    return one is other or rules(one) == rules(other)


def task_config(config: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """A copy of a configuration with the outputs of a task: their number, names and problem type."""
    own: Any = copy.deepcopy(config)
    labels = task.labels or tuple(f"LABEL_{index}" for index in range(task.logits))
    own.id2label = dict(enumerate(labels))
    own.label2id = {label: index for index, label in enumerate(labels)}
    own.problem_type = task.kind.problem_type
    own.output_hidden_states = False
    own.return_dict = True
    own.dtype = torch.float32
    own.architectures = [_head_class(own, task.kind).__name__]
    return own


def build_encoder(config: PreTrainedConfig, task: Task) -> PreTrainedModel:
    """A model of this shape with fresh weights, drawn from torch's global generator, and the head of a task.

    Raises:
        UserError: transformers has no such head for the family.
    """
    own = task_config(config, task)
    try:
        with quiet_transformers():
            model = _head_class(own, task.kind)._from_config(own, **_attention(own, task.kind))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UserError(
            f"a {own.model_type} of {own.num_hidden_layers} layers x {own.hidden_size} does not fit into memory",
            expected="a student smaller than its teacher",
            fix="ask for fewer layers or a smaller width",
        ) from error
    return model.eval()


def load_encoder(checkpoint: Checkpoint, task: Task) -> tuple[PreTrainedModel, bool]:
    """The model of a checkpoint with the head of a task, in eval mode, and whether that head is the checkpoint's own.

    A head for another kind of task, or with another number of outputs, is left out; a missing one is drawn from torch's
    global generator. Names of labels are not compared here.

    Raises:
        UserError: The weights do not fit the architecture of `config.json`, or are not finite.
    """
    model, fresh = load_weights(checkpoint, task)
    return model, not any(_is_head(model, name) for name in fresh)


def load_weights(checkpoint: Checkpoint, task: Task, *, keep_head: bool = True) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """As `load_encoder`, with the names of the tensors that the checkpoint did not give.

    Args:
        checkpoint: Where the weights are.
        task: Which head the model has.
        keep_head: Whether the checkpoint's own head is used where it fits.
    """
    check_weights(checkpoint)
    config = task_config(checkpoint.config, task)
    cls = _head_class(config, task.kind)
    has = head_kind(checkpoint.config)
    fits = has == task.kind and checkpoint.config.num_labels == task.logits
    where: str | None = str(checkpoint.folder)
    options: dict[str, Any] = {}
    if not keep_head or (has is not None and not fits):
        where, options["state_dict"] = None, _encoder_weights(checkpoint)
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                where,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # reported below, in our words
                output_loading_info=True,
                **_attention(config, task.kind),
                **options,
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the weights of {checkpoint.source} cannot be loaded: {reason}") from error
    model.config.name_or_path = checkpoint.name  # not a path of this machine
    mismatched = {name: (tuple(found), tuple(wanted)) for name, found, wanted in info["mismatched_keys"]}
    wrong = sorted(name for name in mismatched if fits or not _is_head(model, name))
    if wrong:
        found, wanted = mismatched[wrong[0]]
        raise UserError(
            f"the weights of {checkpoint.source} do not have the shapes that its config.json says: "
            f"{wrong[0]} is {found}, not {wanted}",
            expected="config.json and weights of the same model",
        )
    broken = next((name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()), None)
    if broken is not None:
        raise UserError(
            f"the weights of {checkpoint.source} hold NaN or infinite numbers: {broken}",
            expected="finite weights",
            fix="copy or download the folder again, or train that model again with a lower learning rate",
        )
    missing = set(info["missing_keys"])
    lost = sorted(name for name in missing if not _may_be_fresh(model, name))
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(
            f"the weights of {checkpoint.source} lack {lost[0]}{more}",
            expected=f"all weights of the {config.model_type} encoder that its config.json describes",
            fix="copy or download the folder again",
        )
    return model, tuple(sorted(missing | set(mismatched)))


def _head_class(config: PreTrainedConfig, kind: Kind) -> Any:
    mapping = getattr(_transformers, f"AutoModelFor{kind.head}")._model_mapping
    if type(config) not in mapping:
        raise UserError(
            f"transformers has no {kind} head for {config.model_type} models",
            expected="a family with one (BERT, RoBERTa, DistilBERT, ELECTRA, XLM-R, ALBERT, ModernBERT, ...)",
        )
    return mapping[type(config)]


def _attention(config: PreTrainedConfig, kind: Kind) -> dict[str, str]:
    return {"attn_implementation": "sdpa"} if _head_class(config, kind)._supports_sdpa else {}


def _is_head(model: PreTrainedModel, name: str) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.")


def _may_be_fresh(model: PreTrainedModel, name: str) -> bool:
    # Checkpoints of masked language models have no pooler: it is fitted with the head that reads it.
    return _is_head(model, name) or name.startswith(f"{model.base_model_prefix}.pooler.")


def _encoder_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights of a checkpoint without those of its head."""
    weights: dict[str, Tensor] = {}
    for file in weight_files(checkpoint.folder):
        with safe_open(file, framework="pt") as tensors:
            weights.update({name: tensors.get_tensor(name) for name in tensors.keys()})  # noqa: SIM118
    base = _transformers.MODEL_MAPPING[type(checkpoint.config)]
    prefix = f"{base.base_model_prefix}."
    inside = {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}
    return inside or weights  # a bare encoder's names have no prefix, and it has no head
