"""What we ask of an encoder: one forward call -> Features. Families differ here and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from stillhouse.errors import UserError
from stillhouse.features import (
    LOGITS,
    PARTS,
    VOCABULARY,
    Dimensions,
    Feature,
    FeatureName,
    Features,
    Needs,
    VocabularyScores,
    layers_of,
)
from stillhouse.models.capture import Recorded, recording, states_before
from stillhouse.models.vocabulary_head import vocabulary_scores


def layer_count(config: PreTrainedConfig) -> int:
    """Number of layers, each a hidden state of its own, whether or not they share weights."""
    return int(config.num_hidden_layers)


def hidden_size(config: PreTrainedConfig) -> int:
    """Width of the hidden states."""
    return int(config.hidden_size)


def head_count(config: PreTrainedConfig) -> int:
    """Number of attention heads of a layer; FNet, which has no attention, counts as one."""
    return int(getattr(config, "num_attention_heads", 1))


def dimensions(config: PreTrainedConfig) -> Dimensions:
    """Sizes of an encoder, and how its layers attend."""
    layers = layer_count(config)
    types = getattr(config, "layer_types", None) or ["full_attention"] * layers
    return Dimensions(
        layers=layers,
        width=hidden_size(config),
        heads=head_count(config),
        attention_width=int(getattr(config, "true_hidden_size", hidden_size(config))),
        windows=tuple(int(config.sliding_window) if reach == "sliding_attention" else None for reach in types),
        is_shared=int(getattr(config, "num_hidden_groups", layers)) < layers,
        family=str(config.model_type),
    )


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the task head: all that are not the base model's. BERT's pooler belongs to the base model."""
    base = getattr(model, "base_model", model)
    encoder = {id(parameter) for parameter in base.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in encoder]


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The layers of an encoder, in order.

    Raises:
        UserError: The family keeps them otherwise.
    """
    return named_stack(model, stack_name(model))


def named_stack(model: PreTrainedModel, name: str) -> nn.ModuleList:
    """The module list of that name."""
    stack = model.base_model.get_submodule(name)
    assert isinstance(stack, nn.ModuleList)
    return stack


def stack_name(model: PreTrainedModel) -> str:
    """The module list that holds the layers; ALBERT's holds groups of layers that share their weights."""
    blocks = getattr(model.config, "num_hidden_groups", layer_count(model.config))
    for name, module in model.base_model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == blocks:
            return str(name)
    raise UserError(
        f"layers of {model.config.model_type} models cannot be told apart",
        expected="a family with its layers in one list (BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT, ModernBERT, ...)",
    )


def input_names(model: nn.Module) -> tuple[str, ...]:
    """Which of `input_ids`, `attention_mask` and `token_type_ids` the model takes.

    Segments only where it tells them apart: RoBERTa's signature has them, its table of one row does not.
    """
    segments = int(getattr(model.config, "type_vocab_size", None) or 0)
    return _input_names(type(model).forward, segments > 1)


@cache
def _input_names(forward: Callable[..., Any], has_segments: bool) -> tuple[str, ...]:
    known = inspect.signature(forward).parameters
    names = ("input_ids", "attention_mask", "token_type_ids") if has_segments else ("input_ids", "attention_mask")
    return tuple(name for name in names if name in known)


def compute_features(model: nn.Module, inputs: Mapping[str, Tensor], needs: Needs) -> Features:
    """Runs a model once and returns exactly the features that are needed.

    Without gradient the pass ends with the last layer that is read, where nothing of a head is.

    Args:
        model: An encoder of transformers, with a task head where logits are needed, with a masked-LM head where scores over
            its vocabulary are. Mode, gradient and precision are the caller's.
        inputs: Token ids and their like, `(batch, tokens)`; what the model does not take is left out.
        needs: Hidden state 0 is the embedding output (after its normalisation and, in ELECTRA and ALBERT, its
            projection), `l` the output of layer `l`; ModernBERT's last is after its final normalisation.

    Raises:
        UserError: A layer is asked for that the model does not have.
        RuntimeError: Something that was asked for was not captured; see also `recording`.
    """
    if not needs:
        return Features()
    config: Any = model.config
    layers, attended = layers_of(needs, "hidden_state", "cls"), layers_of(needs, *PARTS)
    _check_layers(layers, config, "hidden state", 0)
    _check_layers(attended, config, "Q, K and V of layer", 1)
    # ALBERT may run several inner layers a layer, and each of them counts for transformers.
    stride = int(getattr(config, "inner_group_num", 1))
    wanted: bool | list[int] = [layer * stride for layer in layers] if layers else False
    if layers and stride > 1:
        wanted = True  # transformers drops numbers above num_hidden_layers without a word
    given = {name: inputs[name] for name in input_names(model) if name in inputs}
    calls = {layer * stride: layer for layer in attended}
    every = layer_count(config) * stride
    if behind := _layers_behind(model, layers, attended, needs):
        return _shallow_features(model, given, needs, behind)
    # Where nothing else is wanted the pass ends, inside the block, with the last queries, keys and values.
    stops, outputs = not (_head_needs(needs) or layers), None
    with _scores(model, needs) as scores, recording(model, calls, every, given.get("attention_mask"), stops=stops) as recorded:
        outputs = model(**given, output_hidden_states=wanted, return_dict=True)
    states = outputs.hidden_states if layers else ()
    states = {layer: _state(states, layer * stride, layer, model) for layer in layers}
    passed = _Pass(states, {calls[call]: one for call, one in recorded.items()}, outputs, model, *scores)
    return passed.features(needs)


def _scores(model: nn.Module, needs: Needs) -> AbstractContextManager[list[VocabularyScores]]:
    return vocabulary_scores(model, keeps_logits=LOGITS in needs) if VOCABULARY in needs else nullcontext([])


def _head_needs(needs: Needs) -> Needs:
    """What of the needs a head gives."""
    return needs & {LOGITS, VOCABULARY}


def _shallow_features(model: nn.Module, given: dict[str, Tensor], needs: Needs, behind: Mapping[int, nn.Module]) -> Features:
    """The same of a pass that ends with the last hidden state or attention that is wanted, given the layers behind states."""
    attended = layers_of(needs, *PARTS)
    last_state, last_attention = max(behind), max(attended, default=0)
    is_attention_last = last_attention > last_state
    layers, mask = max(last_state, last_attention), given.get("attention_mask")
    with (
        recording(model, attended, layers, mask, stops=is_attention_last) as recorded,
        states_before(behind, stops=not is_attention_last) as states,
    ):
        model(**given, return_dict=True)
    return _Pass(states, recorded, None, model).features(needs)


@dataclass(frozen=True)
class _Pass:
    """What a forward pass left: hidden states and recorded attention by layer, and the model's own outputs."""

    states: Mapping[int, Tensor]
    recorded: Mapping[int, Recorded]
    outputs: Any
    model: nn.Module
    scores: VocabularyScores | None = None

    def features(self, needs: Needs) -> Features:
        return Features(
            {feature: self._tensor(feature) for feature in sorted(needs - {VOCABULARY})},
            {layer: self.recorded[layer].attention for layer in layers_of(needs, *PARTS)},
            self.scores,
        )

    def _tensor(self, feature: Feature) -> Tensor:
        """A new kind of feature is one line here."""
        layer = feature.layer
        read: dict[FeatureName, Callable[[], Tensor]] = {
            "logits": lambda: _logits(self.outputs, self.model),
            "hidden_state": lambda: self.states[layer],
            "cls": lambda: self.states[layer][:, 0],
            "query": lambda: self.recorded[layer].query,
            "key": lambda: self.recorded[layer].key,
            "value": lambda: self.recorded[layer].value,
        }
        return read[feature.name]()


def _layers_behind(model: Any, states: Sequence[int], attended: Sequence[int], needs: Needs) -> dict[int, nn.Module]:
    """The layers whose input the wanted hidden states are, where a pass without gradient may end before the last layer."""
    top = max([0, *states, *attended])
    config = model.config
    is_shared = dimensions(config).is_shared or getattr(config, "inner_group_num", 1) > 1  # ALBERT
    if not states or _head_needs(needs) or top == layer_count(config) or is_shared or torch.is_grad_enabled():
        return {}
    with suppress(UserError):  # of a family whose layers cannot be told apart
        stack = layer_stack(model)
        return {state: stack[state] for state in states}
    return {}


def _check_layers(layers: list[int], config: PreTrainedConfig, what: str, lowest: int) -> None:
    wrong = [layer for layer in layers if not lowest <= layer <= layer_count(config)]
    if wrong:
        raise UserError(
            f"{what} {wrong[0]} is asked of a model with {layer_count(config)} layers",
            expected=f"{lowest}..{layer_count(config)}" + (", 0 = embeddings" if lowest == 0 else ""),
        )


def _state(states: Any, slot: int, layer: int, model: nn.Module) -> Tensor:
    state = states[slot] if states is not None and slot < len(states) else None
    if not isinstance(state, Tensor):
        raise RuntimeError(f"{type(model).__name__} gave no hidden state {layer}")
    return state


def _logits(outputs: Any, model: nn.Module) -> Tensor:
    if "start_logits" in outputs:
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    if "logits" not in outputs:
        raise RuntimeError(f"{type(model).__name__} has no task head, so it gives no logits")
    logits: Tensor = outputs.logits
    return logits
