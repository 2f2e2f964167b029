"""A narrower student that starts from chosen layers of its teacher: of every vector the dimensions that matter most.

One choice of hidden dimensions holds in the whole model. Every head keeps as many dimensions as the others: of query and key
the same ones, since they are multiplied with each other, of the value those that the output projection reads. What matters:

read by a linear map    Var[x_j] |W_j|^2, as a share of the map's whole; hidden dimensions: summed over all maps of the layers
query and key           E[q_j^2] Var[k_j]: what all keys have in common moves no attention

What a map reads and the student lacks is guessed from what is kept, x ~ M x_kept + c, by ridge regression over the teacher's
own vectors of some text: its weight becomes W M, its bias b + W c. So with keys, in each head: q.k ~ (M^T q).k_kept + q.c, of
which the last is the same for all keys. Scores are divided by the root of a head's width: the query makes up for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from stillhouse.errors import UserError
from stillhouse.models.adapter import head_count, hidden_size, layer_count, named_stack, stack_name
from stillhouse.models.architecture import skeleton
from stillhouse.models.forward import evaluating
from stillhouse.models.loading import build_encoder
from stillhouse.models.spec import Shape
from stillhouse.models.start import Start
from stillhouse.students.copy_layers import (
    block_pairs,
    copy_token_bias,
    full_name,
    layers_in_words,
    student_names,
    told_apart,
)
from stillhouse.students.moments import Fold, SampleText, one_thread, watching
from stillhouse.students.shape import student_config
from stillhouse.task import NO_HEAD


class _Maps(NamedTuple):
    """Names of a layer's linear maps, in the order in which BERT and its like have them."""

    query: str
    key: str
    value: str
    output: str
    up: str
    down: str


class _Choice(NamedTuple):
    """What is kept of a layer: dimensions of key and of value, head by head; neurons; and what becomes of the query."""

    key: Tensor
    value: Tensor
    neurons: Tensor
    query: Tensor

    def gives(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """What is kept of what each linear map gives."""
        return self.query, self.key, self.value, hidden, self.neurons, hidden

    def reads(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """What is kept of what each linear map reads."""
        return hidden, hidden, hidden, self.value, hidden, self.neurons


class _Widths(NamedTuple):
    """Of a model's vectors; `head` is that of a single head."""

    hidden: int
    embedding: int
    head: int
    neurons: int


@dataclass(frozen=True)
class _Cut:
    """What is kept of a model's tensors.

    Attributes:
        by_size: Of vectors of a certain size, where nothing else is said.
        rows: Of what a linear map gives, by its name: numbers, or for the query a matrix.
        folds: Of what a linear map reads, by its name.
    """

    by_size: Mapping[int, Tensor]
    rows: dict[str, Tensor] = field(default_factory=dict)
    folds: dict[str, Fold] = field(default_factory=dict)

    def of(self, name: str, tensor: Tensor, module: Any) -> Tensor:
        """What is kept of a tensor of a module; of the rows of a table, all."""
        owner = name.rpartition(".")[0]
        fold = self.folds.get(owner)
        if fold is not None:
            tensor = tensor @ fold.matrix if tensor.ndim == 2 else tensor + module.weight.cpu() @ fold.offset
        elif tensor.ndim == 2:
            tensor = _kept(tensor, 1, self.by_size.get(tensor.shape[1]))
        if isinstance(module, nn.Embedding) or tensor.ndim == 0:
            return tensor
        return _kept(tensor, 0, self.rows.get(owner, self.by_size.get(tensor.shape[0])))


def _kept(tensor: Tensor, axis: int, index: Tensor | None) -> Tensor:
    if index is not None and index.is_floating_point():
        return index @ tensor
    return tensor if index is None else tensor.index_select(axis, index)


def slice_weights(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Sequence[int],
    *,
    text: SampleText | None,
    teacher_name: str = "the teacher",
) -> Start:
    """Gives a narrower student what matters most of its teacher's embeddings and of chosen layers.

    The number of threads changes no bit of it where it changes none of what the teacher says, as on a CPU; on a GPU, or
    another kind of CPU, the last bits are others.

    Args:
        student: Changed in place; of the teacher's family, with as many heads and no wider anywhere.
        teacher: Left as it is.
        layers: For each student layer its teacher layer, 1-based.
        text: What the teacher reads to show which dimensions matter; None = the first ones are kept, and nothing is folded.
        teacher_name: For the description.

    See Also:
        check_sliceable: What has to be known of the family before.
    """
    stack = stack_name(teacher)
    blocks = block_pairs(student, teacher, stack, layers)
    used = [maps for block in sorted(blocks) for maps in _layer_maps(teacher, stack, block)]
    own = _widths(student, _layer_maps(student, stack, 0)[0])
    with torch.no_grad(), evaluating(teacher):
        cut = _first(teacher, used, own) if text is None else _most_important(teacher, used, own, stack, text)
        with one_thread():
            copied = _write(student, teacher, partial(student_names, stack=stack, blocks=blocks), cut)
        copied += copy_token_bias(student, teacher)
    held, fresh = told_apart(student, copied)
    which = "the first " if text is None else ""
    return Start(
        f"slice of {layers_in_words(layers, teacher, stack, teacher_name)} "
        f"({which}{own.hidden} of {hidden_size(teacher.config)} dimensions)",
        copied=held,
        fresh=fresh,
    )


def check_sliceable(teacher: PreTrainedConfig, student: PreTrainedConfig) -> None:
    """Makes sure that the parts of a family's layers are those that are taken for granted here.

    A small model of the family whose dimensions all stand in another order has to say the same as before.

    Args:
        teacher: Configuration of the teacher.
        student: Configuration of the student.

    Raises:
        UserError: It does not, or cannot be made; or the student lacks a part of the teacher.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            is_known = _says_the_same_in_another_order(teacher)
        except Exception:  # whatever a family's own code makes of it
            is_known = False
    if not is_known:
        raise UserError(
            f"student.start is slice, but it is not known which parts the layers of {teacher.model_type} models have",
            expected="a family such as BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA or ALBERT",
            fix="student.start=fresh, or a student of the teacher's width",
        )
    parts = [_outside(skeleton(config)) for config in (teacher, student)]
    if lost := sorted(parts[0] - parts[1]):
        raise UserError(
            f"student.start is slice, but a student of width {hidden_size(student)} has no {lost[0]}, which its teacher has",
            expected="a width above that of the embeddings, which are widened then",
            fix="another width, or student.start=fresh",
        )


def _outside(model: PreTrainedModel) -> set[str]:
    """Names of the tensors that belong to no layer."""
    prefix = f"{stack_name(model)}."
    return {name for name in model.state_dict() if not name.startswith(prefix)}


def _says_the_same_in_another_order(teacher: PreTrainedConfig) -> bool:
    count = min(2, layer_count(teacher))
    small = student_config(teacher, Shape(count, 4 * head_count(teacher)), range(1, count + 1))
    model = build_encoder(small, NO_HEAD).double()
    for parameter in model.parameters():
        parameter.normal_(std=0.5)
    stack = stack_name(model)
    maps = [one for block in range(len(named_stack(model, stack))) for one in _layer_maps(model, stack, block)]
    widths, heads = _widths(model, maps[0]), head_count(small)
    hidden, other = torch.randperm(widths.hidden), copy.deepcopy(model)
    choices = []
    for one in maps:
        key, value = (_in_heads(torch.rand(widths.head * heads), heads, widths.head, order=True) for _ in range(2))
        choices.append(
            _Choice(key, value, torch.randperm(widths.neurons), _selection(model.base_model, one.query, key).matrix.T)
        )
    by_size = {widths.embedding: torch.randperm(widths.embedding), widths.hidden: hidden}
    cut = _cut(by_size, hidden, dict(zip(maps, choices, strict=True)), partial(_selection, model.base_model))
    _write(other, model, lambda name: [name], cut)
    ids = torch.arange(10, 20).unsqueeze(0)
    own, theirs = (one(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state for one in (other, model))
    return bool(torch.allclose(own, theirs[..., hidden], atol=1e-6)) and bool(theirs.std() > 1e-3)


def _layer_maps(model: PreTrainedModel, stack: str, block: int) -> list[_Maps]:
    """Of a block, which is a layer or, in ALBERT, several."""
    modules = named_stack(model, stack)[block].named_modules()
    names = [f"{stack}.{block}.{name}" for name, module in modules if isinstance(module, nn.Linear)]
    return [_Maps(*names[first : first + 6]) for first in range(0, len(names), 6)]


def _widths(model: PreTrainedModel, maps: _Maps) -> _Widths:
    table: Any = model.get_input_embeddings()
    query, up = _linear(model, maps.query), _linear(model, maps.up)
    return _Widths(query.in_features, table.embedding_dim, query.out_features // head_count(model.config), up.out_features)


def _linear(model: PreTrainedModel, name: str) -> Any:
    return model.base_model.get_submodule(name)


def _cut(
    by_size: Mapping[int, Tensor], hidden: Tensor, choices: Mapping[_Maps, _Choice], fold: Callable[[str, Tensor], Fold]
) -> _Cut:
    """The cut that some choices make; `fold` gives what becomes of the input of a map of which some dimensions are kept."""
    cut = _Cut(by_size)
    for maps, kept in choices.items():
        cut.rows.update(zip(maps, kept.gives(hidden), strict=True))
        cut.folds.update({name: fold(name, one) for name, one in zip(maps, kept.reads(hidden), strict=True)})
    return cut


def _selection(base: Any, name: str, kept: Tensor) -> Fold:
    """What is not kept is forgotten."""
    weight = base.get_submodule(name).weight
    whole = torch.eye(weight.shape[1], dtype=weight.dtype)
    return Fold(whole[:, kept], torch.zeros_like(whole[0]))


def _first(teacher: PreTrainedModel, used: Sequence[_Maps], own: _Widths) -> _Cut:
    heads, width = head_count(teacher.config), _widths(teacher, used[0])
    of_heads = _in_heads(-torch.arange(heads * width.head), heads, own.head)
    query = torch.eye(heads * width.head)[of_heads] * (own.head / width.head) ** 0.5
    choice = _Choice(of_heads, of_heads, torch.arange(own.neurons), query)
    by_size = {width.embedding: torch.arange(own.embedding), width.hidden: torch.arange(own.hidden)}
    return _cut(by_size, by_size[width.hidden], dict.fromkeys(used, choice), partial(_selection, teacher.base_model))


def _most_important(teacher: PreTrainedModel, used: Sequence[_Maps], own: _Widths, stack: str, text: SampleText) -> _Cut:
    heads, width = head_count(teacher.config), _widths(teacher, used[0])
    narrow = [] if width.embedding == width.hidden else _reading(teacher, width.embedding, stack)
    reads = [name for maps in used for name in (maps.query, maps.output, maps.up, maps.down)] + narrow
    parts = [*dict.fromkeys(_block_of(maps, stack) for maps in used), *narrow]
    with watching(teacher, reads, [name for maps in used for name in (maps.query, maps.key)]) as watch:
        calls = watch.read_text(text, parts)
    read, given = watch.read, watch.given
    for maps in used:
        read[maps.key] = read[maps.value] = read[maps.query]

    def share(name: str) -> Tensor:
        matters: Tensor = read[name].variance * _linear(teacher, name).weight.double().square().sum(0).cpu()
        return matters / matters.sum().clamp_min(1e-30)

    hidden = _top(sum(share(name) for maps in used for name in (*maps[:3], maps.up)), own.hidden)
    by_size = {width.hidden: hidden}
    if narrow:
        by_size[width.embedding] = _top(sum(share(name) for name in narrow), own.embedding)
    choices: dict[_Maps, _Choice] = {}
    folds: dict[str, Fold] = {}
    for part in parts:  # one after the other: products of all at once would take a hundred megabytes a layer
        layers = [maps for maps in used if _block_of(maps, stack) == part]
        reads = [name for maps in layers for name in (maps.query, maps.output, maps.up, maps.down)] or [part]
        with watching(teacher, reads, [maps.key for maps in layers], has_covariance=True) as watch:
            watch.again(part, calls.pop(part))
        with one_thread():
            for maps in layers:
                key = _in_heads(given[maps.query].squares * given[maps.key].variance, heads, own.head)
                query = watch.given[maps.key].fold(key, heads).matrix.T * (own.head / width.head) ** 0.5
                value, neurons = _in_heads(share(maps.output), heads, own.head), _top(share(maps.down), own.neurons)
                choices[maps] = _Choice(key, value, neurons, query)
                kept = dict(zip(maps, choices[maps].reads(hidden), strict=True))
                folds |= {name: watch.read[name].fold(kept[name]) for name in maps if name in watch.read}
                folds[maps.key] = folds[maps.value] = folds[maps.query]
            if part in narrow:
                folds[part] = watch.read[part].fold(by_size[width.embedding])
    cut = _cut(by_size, hidden, choices, lambda name, _: folds[name])
    cut.folds.update({name: folds[name] for name in narrow})
    return cut


def _block_of(maps: _Maps, stack: str) -> str:
    """The name of the block that some maps are in."""
    return f"{stack}.{maps.query.removeprefix(f'{stack}.').partition('.')[0]}"


def _reading(model: PreTrainedModel, width: int, stack: str) -> list[str]:
    """The linear maps outside of the layers that read vectors of a width: what widens the embeddings."""
    return [
        name
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.Linear) and module.in_features == width and not name.startswith(f"{stack}.")
    ]


def _top(matters: Any, count: int) -> Tensor:
    """The most important, in their old order."""
    return _ranked(torch.as_tensor(matters))[:count].sort().values


def _in_heads(matters: Tensor, heads: int, count: int, *, order: bool = False) -> Tensor:
    """The most important of every head, in their old order or in that of importance."""
    own = matters.view(heads, -1)
    chosen = _ranked(own)[:, :count]
    chosen = chosen if order else chosen.sort().values
    return (chosen + own.shape[1] * torch.arange(heads).unsqueeze(1)).flatten()


def _ranked(matters: Tensor) -> Tensor:
    """Numbers in the order of importance; of those that differ in the last bits of a sum alone the first comes first."""
    return matters.float().argsort(descending=True, stable=True)


def _write(student: PreTrainedModel, teacher: PreTrainedModel, own_names: Callable[[str], list[str]], cut: _Cut) -> list[str]:
    """Writes what is kept into the student; gives the names of what it wrote."""
    targets, base = student.base_model.state_dict(), teacher.base_model
    copied: list[str] = []
    for name, tensor in base.state_dict().items():
        names = own_names(name)
        if not names or (name.startswith("pooler.") and name not in targets):
            continue
        narrow = cut.of(name, tensor.cpu(), base.get_submodule(name.rpartition(".")[0]))
        for own in names:
            targets[own].copy_(narrow)
            copied.append(full_name(student, own))
    return copied
