"""The general phase in a run's report: scores on held-out text, distances by layer, masked sentences as models fill them in."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stillhouse.report import words
from stillhouse.report.disagreements import Said
from stillhouse.report.general_plots import layer_dots
from stillhouse.report.general_words import MEASURES, has_scores, is_pretraining, nats, perplexity
from stillhouse.report.plots import NAMES
from stillhouse.report.svg import printable
from stillhouse.report.tables import Cell, TextRow, TextTable, roles_of

MOST_SENTENCES, MOST_TOKENS, MOST_MASKED = 20, 160, 6
_UNITS = {"hidden": "1 − CKA", "relations": "divergence in nats", "scores": "mean squared difference"}
_GLUED = "##"
_SPACED = (" ", "Ġ", "▁")  # where the pieces are marked that begin a word: byte-level BPE, decoded or not, and SentencePiece


@dataclass(frozen=True)
class Piece:
    """A token of a masked sentence.

    Attributes:
        text: As it is read, with the space before it.
        number: Of the masked position that it is; 0 = of none.
    """

    text: str
    number: int = 0


@dataclass(frozen=True)
class MaskedSentence:
    """A text with masked tokens.

    Attributes:
        pieces: Its tokens.
        masked: Number of each position that is listed, and what was there and what the models take for it.
        more: How many more such positions there are.
    """

    pieces: tuple[Piece, ...]
    masked: tuple[tuple[int, tuple[Said, ...]], ...]
    more: int


def general_table(general: Mapping[str, Any], *, with_sizes: bool) -> TextTable | None:
    """The models on held-out text, the student before and after training.

    Args:
        general: As `general_phase` gives it.
        with_sizes: Whether parameters and sizes are among it.

    Returns:
        None where there is nothing to show.
    """
    roles, student = roles_of(general), general["student"]
    models = [(NAMES[role] if len(roles) > 1 else "model", general[role]) for role in roles]
    before = student.get("before") or {}
    has_before = any(value is not None for value in before.values())
    if has_before:
        sized = {name: student.get(name) for name in ("parameters", "size_mib")}
        models.insert(len(models) - 1, (f"{models[-1][0]} before training", before | sized))
    facts: list[tuple[str, str, Callable[[Any], str]]] = []
    if has_scores(general):
        facts += [
            (words.metric_name(general["metric"]), "score", words.score),
            ("perplexity of masked tokens", "perplexity", perplexity),
            ("agreement with the teacher", "agreement", words.percent),
            ("mean divergence from the teacher", "kl", nats),
        ]
    if with_sizes:
        facts += [("parameters", "parameters", words.count), ("size of the weights", "size_mib", words.mebibytes)]
    rows = []
    for name, key, write in facts:
        values = [model.get(key) for _, model in models]
        if any(value is not None for value in values):
            cells = tuple(Cell("" if value is None else write(value)) for value in values)
            rows.append(TextRow(name, cells, main=key == "score"))
    return TextTable(("", *(name for name, _ in models)), tuple(rows)) if rows else None


def layer_plots(layers: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """A plot for each distance that was measured."""
    drawn = []
    for measure, title in MEASURES.items():
        pairs = [(_layer(layer), layer["before"].get(measure), layer["after"].get(measure)) for layer in layers]
        known = [(name, before, after) for name, before, after in pairs if before is not None and after is not None]
        if known:
            drawn.append((title, layer_dots(known, title, _UNITS[measure], f"layers-{measure}")))
    return drawn


def layer_table(layers: Sequence[Mapping[str, Any]]) -> TextTable:
    """Every distance by layer, after training, with that before it as a note."""
    measured = [name for name in MEASURES if any(layer["after"].get(name) is not None for layer in layers)]
    rows = []
    for layer in layers:
        cells = []
        for name in measured:
            before = layer["before"].get(name)
            note = "" if before is None else f"{words.score(before)} before"
            cells.append(Cell(words.score(layer["after"].get(name)), note))
        rows.append(TextRow(_layer(layer), tuple(cells)))
    return TextTable(("layer", *(MEASURES[name] for name in measured)), tuple(rows))


def masked_sentences(examples: Sequence[Mapping[str, Any]]) -> list[MaskedSentence]:
    """The examples of metrics.json, laid out for reading."""
    return [_sentence(example) for example in examples[:MOST_SENTENCES]]


def general_parts(general: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of a general phase.

    Args:
        general: As `general_phase` gives it.
        metrics: The content of metrics.json.
    """
    layers = general.get("layers") or ()
    said = (general.get("corpus"), *(metrics.get("notes") or ()))
    return {
        "corpus": general.get("corpus") or "",
        "table": general_table(general, with_sizes=not is_pretraining(metrics)),
        "plots": layer_plots(layers),
        "layers": layer_table(layers) if layers else None,
        "examples": masked_sentences(general.get("examples") or ()),
        "notes": [note for note in general.get("notes") or () if note not in said],
    }


def usage(general: Mapping[str, Any], run_name: str) -> dict[str, str]:
    """How a general student is used: in Python, and as the student of a run with a task."""
    auto = "AutoModelForMaskedLM" if general["metric"] is not None else "AutoModel"
    return {
        "auto": auto,
        "python": f"from transformers import {auto}, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("student")\nmodel = {auto}.from_pretrained("student")\n',
        "command": f"stillhouse distill --data FILE --student {shlex.quote(f'{run_name}/student')}",
    }


def _layer(layer: Mapping[str, Any]) -> str:
    """A student's layer and the teacher's that it is compared with; layer 0 is the output of the embeddings."""
    own, its = (f"layer {number}" if number else "embeddings" for number in (layer["own"], layer["its"]))
    return own if own == its else f"{own} (teacher {its.removeprefix('layer ')})"


def _sentence(example: Mapping[str, Any]) -> MaskedSentence:
    tokens = [str(token) for token in example["tokens"][:MOST_TOKENS]]
    masked = [one for one in example["masked"] if one["position"] < len(tokens)]
    listed = {one["position"]: number for number, one in enumerate(masked[:MOST_MASKED], start=1)}
    marked = any(token.startswith(_SPACED) for token in tokens)
    pieces = [Piece(_text(token, marked=marked), listed.get(place, 0)) for place, token in enumerate(tokens)]
    if len(tokens) < len(example["tokens"]):
        pieces.append(Piece(" …"))
    shown = tuple((number, _filled(one)) for number, one in enumerate(masked[:MOST_MASKED], start=1))
    return MaskedSentence(tuple(pieces), shown, len(example["masked"]) - len(shown))


def _text(token: str, *, marked: bool) -> str:
    """A token with a space before it, unless it goes on the word before it."""
    is_glued = not token.startswith(_SPACED) and not token.startswith(("[", "<")) if marked else token.startswith(_GLUED)
    bare = token[1:] if token.startswith(_SPACED) else token.removeprefix(_GLUED)
    return ("" if is_glued else " ") + (printable(bare, 40) if bare else "")


def _filled(one: Mapping[str, Any]) -> tuple[Said, ...]:
    said = [Said("true token", printable(one["gold"], 40))]
    for role in words.ROLES:
        answers = one["answers"].get(role)
        if answers:
            (best, share), others = answers[0], answers[1:]
            rest = ", ".join(f"{printable(token, 40)} {words.percent(part)}" for token, part in others)
            said.append(Said(NAMES[role], printable(best, 40), share, best == one["gold"], rest))
    return tuple(said)
