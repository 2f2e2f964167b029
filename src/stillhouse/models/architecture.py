"""Which architecture a checkpoint's weights have: compared with the models that transformers makes, without being read.

A head is used, and its labels are read, for one reason alone: its weights are there. What `config.json` calls the model is not
asked where the weights say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from stillhouse.documents import read_json
from stillhouse.errors import UserError, cut, shown
from stillhouse.models.quiet import quiet_transformers
from stillhouse.task import MASKED_LM, Kind, kind_names, load_kind

_transformers: Any = transformers
CORRECT = 'if it is a classifier, write "problem_type": "single_label_classification" into config.json'


@dataclass(frozen=True)
class _Fit:
    """How far weights are those of a class of models.

    Attributes:
        model: Of that class, without weights.
        missing: What it has and they lack.
        misshapen: What has another shape, as found and as wanted.
        unexpected: How many of them it has no place for.
    """

    model: Any
    missing: tuple[str, ...]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unexpected: int

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def lost_head(self) -> tuple[str, ...]:
        """What is missing of its head, and of the pooler that a head for whole texts reads."""
        reads_pooler = "ForSequenceClassification" in self.name
        of_head = may_be_fresh if reads_pooler else is_in_head
        return tuple(name for name in self.missing if of_head(self.model, name))


def head_kind(config: PreTrainedConfig) -> Kind | None:
    """The task whose head a checkpoint carries; None = no head that Stillhouse can use."""
    return next((kind for kind in map(load_kind, kind_names()) if kind.is_head_of(config)), None)


def head_labels(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names of the outputs of a checkpoint's head, in the order of its logits."""
    return tuple(str(label) for _, label in sorted((config.id2label or {}).items()))


def is_masked_lm(config: PreTrainedConfig) -> bool:
    """Whether a checkpoint carries a head over its vocabulary."""
    return f"For{MASKED_LM.name}" in (config.architectures or [""])[0]


def head_class(config: PreTrainedConfig, head: str) -> Any:
    """The class of a family's models with a head that transformers calls so, or without any; None where there is none."""
    mapping = getattr(_transformers, f"AutoModelFor{head}" if head else "AutoModel")._model_mapping
    return mapping.get(type(config), None)


def is_in_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor of that name is outside of the encoder."""
    return not name.startswith(f"{model.base_model_prefix}.")


def may_be_fresh(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor may be drawn anew, to be fitted with the head: masked language models have no pooler."""
    return is_in_head(model, name) or name.startswith(f"{model.base_model_prefix}.pooler.")


def settle_architecture(config: PreTrainedConfig, folder: Path, source: str) -> tuple[tuple[str, ...], bool]:
    """Lets a configuration name the architecture whose weights are there.

    Args:
        config: Read from the folder; its `architectures` are corrected.
        folder: Where the weights are.
        source: How the user named it, for messages.

    Returns:
        What people have to know of it, and whether the weights have a head that is not used, since nobody can say what it is.

    Raises:
        UserError: The weights are not those of the encoder that the configuration describes, or of the head that it names.
    """
    heads = dict.fromkeys([*(load_kind(name).head for name in kind_names()), MASKED_LM.name])
    classes = {head: cls for head in heads if (cls := head_class(config, head)) is not None}
    said = (config.architectures or [""])[0]
    named = next((cls for head, cls in classes.items() if f"For{head}" in said and head != MASKED_LM.name), None)
    tried = [named] if named is not None else list(classes.values()) or [_transformers.MODEL_MAPPING[type(config)]]
    # A class that is not the model's own may refuse its configuration, as DistilBERT's for questions does three labels.
    fits = [fit for cls in tried if (fit := _compare(cls, config, folder, source, must_fit=cls is tried[0])) is not None]
    _check_encoder(fits[0], source, with_head=named is not None)
    if not classes:
        return (), False
    if named is not None and not fits[0].lost_head:
        held: _Fit | None = fits[0]
    else:
        whole = sorted((fit for fit in fits if not fit.lost_head and not fit.misshapen), key=lambda fit: fit.unexpected)
        # BERT's heads for texts and for words differ in the pooler alone, ModernBERT's in nothing.
        held = whole[0] if len(whole) == 1 or (whole and whole[0].unexpected < whole[1].unexpected) else None
    if named is not None and held is None:
        config.architectures = [_transformers.MODEL_MAPPING[type(config)].__name__]
        return (f"config.json names {said}, but the weights lack its head ({fits[0].lost_head[0]})",), False
    names = f"names {said}" if said else "names no architecture"
    if held is None:
        if all(fit.lost_head for fit in fits):
            return (), False
        return (f"config.json {names}, and its weights do not tell what their head is for: it is left out",), True
    config.architectures = [held.name]
    if is_masked_lm(config):
        return (), False
    if head_kind(config) is None:
        what = f"{config.num_labels} outputs and problem_type {shown(config.problem_type)}"
        return (f"its head has {what}, which no task has: it is left out; {CORRECT}",), True
    if named is not None:
        return (), False
    labels = ", ".join(head_labels(config)[:10])
    return (f"config.json {names}; the weights are those of a {held.name}, labels {labels}",), False


def _compare(cls: Any, config: PreTrainedConfig, folder: Path, source: str, *, must_fit: bool) -> _Fit | None:
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, info = cls.from_pretrained(
                str(folder),
                config=config,
                device_map="meta",
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a family's own code makes of its configuration
        if not must_fit:
            return None
        raise UserError(
            f"transformers cannot make the {config.model_type} that {source} describes: {reason_of(error)}",
            expected="config.json and weights that save_pretrained wrote",
            fix="copy or download the folder again",
        ) from error
    misshapen = {name: (tuple(found), tuple(wanted)) for name, found, wanted in info["mismatched_keys"]}
    return _Fit(model, tuple(sorted(info["missing_keys"])), misshapen, len(info["unexpected_keys"]))


def reason_of(error: Exception) -> str:
    """An error's text on one line."""
    text = cut(" ".join(str(error).split()))
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}"


def _check_encoder(fit: _Fit, source: str, *, with_head: bool) -> None:
    wrong = sorted(name for name in fit.misshapen if with_head or not is_in_head(fit.model, name))
    if wrong:
        found, wanted = fit.misshapen[wrong[0]]
        raise UserError(
            f"the weights of {source} do not have the shapes that its config.json says: {wrong[0]} is {found}, not {wanted}",
            expected="config.json and weights of the same model",
        )
    lost = [name for name in fit.missing if not may_be_fresh(fit.model, name)]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(
            f"the weights of {source} lack {lost[0]}{more}",
            expected=f"all weights of the {fit.model.config.model_type} encoder that its config.json describes",
            fix="copy or download the folder again",
        )


def skeleton(config: PreTrainedConfig) -> Any:
    """An encoder of this configuration without weights, for looking at its parts.

    Raises:
        Exception: Whatever the family's own code raises where it cannot be made.
    """
    with torch.device("meta"), quiet_transformers(), torch.random.fork_rng(devices=[]):
        return _transformers.AutoModel.from_config(config)


def positions(config: PreTrainedConfig) -> int | None:
    """How many tokens an encoder has learnt or made positions for; None where these have no end, as rotary ones."""
    return _positions(str(config.model_type), config.to_json_string(use_diff=False))


@cache
def _positions(model_type: str, content: str) -> int | None:
    model = skeleton(CONFIG_MAPPING[model_type].from_dict(read_json(content, "a configuration")))
    rooms: list[int] = []
    for name, module in model.named_modules():
        table: Any = getattr(module, "weight", None)
        if name.rpartition(".")[2].endswith(("position_embeddings", "embed_positions")) and getattr(table, "dim", int)() == 2:
            # RoBERTa and its like count positions from behind the padding's.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            numbers = getattr(model.get_submodule(name.rpartition(".")[0]), "position_ids", None)
            rooms.append(min(len(table) - first, len(table) if numbers is None else numbers.shape[-1]))
    return min(rooms, default=None)
