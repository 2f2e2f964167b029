"""Checkpoints and configurations -> models with the head of a task, in fp32 on scaled-dot-product attention."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stillhouse.documents import read_json
from stillhouse.errors import UserError, shown
from stillhouse.models.architecture import head_class, head_kind, is_masked_lm, reason_of
from stillhouse.models.checkpoint import Checkpoint, check_weights
from stillhouse.models.model_folder import weight_files
from stillhouse.models.quiet import quiet_transformers
from stillhouse.task import Head

_transformers: Any = transformers
SOME_CAPITALS = 0.01  # share of a vocabulary above which capitals in it are no accident


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
        raise UserError(
            f"the tokenizer of {checkpoint.source} cannot be loaded: {reason_of(error)}",
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
    entries = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if entries > size:
        raise UserError(
            f"the tokenizer of {checkpoint.source} has {entries} entries, its model knows {size}",
            expected="the tokenizer that the model was trained with",
        )
    if not isinstance(tokenizer.model_max_length, (int, float)) or not tokenizer.model_max_length >= 1:
        raise UserError(
            f"the tokenizer of {checkpoint.source} says model_max_length {shown(tokenizer.model_max_length)}",
            expected="the most tokens that the model reads, such as 512",
            fix="correct it in tokenizer_config.json, or leave it out",
        )
    tokenizer.init_kwargs.pop("auto_map", None)  # the stock class is used; a student must not point to foreign code
    return tokenizer


def notes_on(checkpoint: Checkpoint, tokenizer: Any) -> tuple[str, ...]:
    """What people have to know of a model that is there already."""
    lost = [f"warning: {note}"] if (note := case_note(tokenizer)) else []
    return tuple(f"{checkpoint.name}: {note}" for note in (*checkpoint.notes, *lost))


def case_note(tokenizer: Any) -> str:
    """What is lost where a tokenizer and its vocabulary differ in whether capitals are told apart; "" for nothing."""
    special = set(tokenizer.all_special_tokens)
    share = _capitals([piece for piece in tokenizer.get_vocab() if piece not in special])
    unknown, lowers = getattr(tokenizer.backend_tokenizer.model, "unk_token", None), lowers_case(tokenizer)
    if lowers and share > SOME_CAPITALS:
        return (
            f"the tokenizer lower-cases all text, and {share:.0%} of its vocabulary has capital letters, which is never used: "
            'if the model is a cased one, write {"do_lower_case": false} into its tokenizer_config.json'
        )
    if not lowers and share == 0 and unknown is not None and tokenizer.tokenize("A") == [unknown]:
        return (
            "the tokenizer leaves capital letters as they are, and its vocabulary has none, so that such words are unknown: "
            'if the model is an uncased one, write {"do_lower_case": true} into its tokenizer_config.json'
        )
    return ""


def lowers_case(tokenizer: Any) -> bool:
    """Whether a tokenizer makes capital letters small."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("Ab") == "ab"


def has_capitals(tokens: Sequence[str]) -> bool:
    """Whether tokens have capital letters, and more than by accident: capitals are told apart."""
    return _capitals(tokens) > SOME_CAPITALS


def _capitals(tokens: Sequence[str]) -> float:
    """The share of tokens with capital letters; `[UNK]`, `<s>` and their like are not counted."""
    words = [token for token in tokens if not re.fullmatch(r"[\[<].*[\]>]", token)]
    return sum(word != word.lower() for word in words) / max(1, len(words))


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers cut text alike; how they were last asked to truncate and pad does not matter."""

    def rules(tokenizer: Any) -> dict[str, Any]:
        content: dict[str, Any] = read_json(tokenizer.backend_tokenizer.to_str(), "the tokenizer")
        return {name: value for name, value in content.items() if name not in ("truncation", "padding")}

    return one is other or rules(one) == rules(other)


def head_config(config: PreTrainedConfig, head: Head) -> PreTrainedConfig:
    """A copy of a configuration with the outputs of a head: their number, names and problem type."""
    own: Any = copy.deepcopy(config)
    own.id2label = dict(enumerate(head.labels))
    own.label2id = {label: index for index, label in enumerate(head.labels)}
    own.problem_type = head.problem_type
    own.output_hidden_states = False
    own.return_dict = True
    own.dtype = torch.float32
    own.architectures = [_head_class(own, head).__name__]
    return own


def build_encoder(config: PreTrainedConfig, head: Head) -> PreTrainedModel:
    """A model of this shape with fresh weights, drawn from torch's global generator, and a head.

    Raises:
        UserError: transformers has no such head for the family.
    """
    own = head_config(config, head)
    cls = _head_class(own, head)
    try:
        with quiet_transformers():
            model = cls._from_config(own, **_attention(own, head))
    except MemoryError as error:
        raise _too_large(own) from error
    except Exception as error:  # whatever a family's own code makes of it
        if isinstance(error, RuntimeError) and "memory" in str(error):
            raise _too_large(own) from error
        raise UserError(
            f"a {own.model_type} of {own.num_hidden_layers} layers x {own.hidden_size} cannot be made: {reason_of(error)}",
            expected="a shape that such models can have",
            fix="choose another shape, such as half, or a folder or hub id",
        ) from error
    return model.eval()


def _too_large(config: PreTrainedConfig) -> UserError:
    return UserError(
        f"a {config.model_type} of {config.num_hidden_layers} layers x {config.hidden_size} does not fit into memory",
        expected="a student smaller than its teacher",
        fix="ask for fewer layers or a smaller width",
    )


def load_encoder(checkpoint: Checkpoint, head: Head) -> tuple[PreTrainedModel, bool]:
    """The model of a checkpoint with a head, in eval mode, and whether that head is the checkpoint's own.

    A head for something else, or with another number of outputs, is left out; a missing one is drawn from torch's
    global generator. Names of labels are not compared here.

    Raises:
        UserError: The weights cannot be read, or are not finite.
    """
    return load_weights(checkpoint, head)[0], has_head(checkpoint, head)


def has_head(checkpoint: Checkpoint, head: Head) -> bool:
    """Whether a checkpoint has the weights of a head; an encoder that is to have none lacks none."""
    if head.task is None:
        return not head.name or is_masked_lm(checkpoint.config)
    return head_kind(checkpoint.config) == head.task.kind and checkpoint.config.num_labels == head.task.logits


def load_weights(checkpoint: Checkpoint, head: Head, *, keep_head: bool = True) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """As `load_encoder`, with the names of the tensors that the checkpoint did not give.

    Args:
        checkpoint: Where the weights are.
        head: What the model has on its encoder.
        keep_head: Whether the checkpoint's own head is used where it fits.
    """
    check_weights(checkpoint)
    config = head_config(checkpoint.config, head)
    cls = _head_class(config, head)
    is_for_another = head_kind(checkpoint.config) is not None and not has_head(checkpoint, head)
    where: str | None = str(checkpoint.folder)
    options: dict[str, Any] = {}
    if not keep_head or is_for_another or checkpoint.drops_head:
        where, options["state_dict"] = None, _encoder_weights(checkpoint)
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                where,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # of a head that is for another number of outputs
                output_loading_info=True,
                **_attention(config, head),
                **options,
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the weights of {checkpoint.source} cannot be loaded: {reason_of(error)}") from error
    model.config.name_or_path = checkpoint.name  # not a path of this machine
    broken = next((name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()), None)
    if broken is not None:
        raise UserError(
            f"the weights of {checkpoint.source} hold NaN or infinite numbers: {broken}",
            expected="finite weights",
            fix="copy or download the folder again, or train that model again with a lower learning rate",
        )
    return model, tuple(sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}))


def _head_class(config: PreTrainedConfig, head: Head) -> Any:
    found = head_class(config, head.name)
    if found is None:
        raise UserError(
            f"transformers has no {head} for {config.model_type} models",
            expected="a family with one (BERT, RoBERTa, DistilBERT, ELECTRA, XLM-R, ALBERT, ModernBERT, ...)",
        )
    return found


def _attention(config: PreTrainedConfig, head: Head) -> dict[str, str]:
    return {"attn_implementation": "sdpa"} if _head_class(config, head)._supports_sdpa else {}


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
