"""Tiny encoders with random weights and tokenizers that fit, saved as folders: real models for tests, made at once."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedTokenizerFast

from stillhouse.models.loading import build_encoder
from stillhouse.models.quiet import quiet_transformers
from stillhouse.task import Task, load_kind

FAMILIES = ("bert", "roberta", "distilbert", "electra", "xlm-roberta", "albert", "modernbert")
SEGMENTS = ("bert", "electra", "albert", "mobilebert")
WORDS = """
the a an of to and in is was are be it this that with for on as at by from or not no but very too so really quite
i you he she we they my your his her our their who what where when why how which
good bad great awful fine poor best worst better worse nice terrible wonderful boring funny sad happy dull clever
silly bright dark warm cold fast slow small big long short new old young film movie story plot actor actress scene
music book song game food place house city river mountain country capital company bank school team player match goal
president minister king queen doctor teacher student market price share money oil gas car train plane ship road
monday tuesday friday january may june year day week hour time man woman child people world life love war peace
said says made make makes went go goes came come saw see seen took take gave give likes like loved hated hate enjoy
enjoyed watch watched read write wrote won win lost lose play played work works ran run born lived lives died found
london paris berlin rome madrid tokyo china france germany england italy spain japan john mary anna peter smith eu un
red green blue one two three four five six seven eight nine ten first second third last next many few all some more
""".split()  # noqa: SIM905


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A lower-casing word-piece tokenizer with a family's special tokens; any ASCII word falls into known pieces."""
    if family in ("roberta", "xlm-roberta"):
        names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    else:
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    letters = string.ascii_lowercase + string.digits
    pieces = [*names.values(), *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    pieces += ["##s", "##ing", "##ed", "##er", "##ly", "##tion", "##est", *WORDS]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    cls, sep = names["cls"], names["sep"]
    between = f"{sep} {sep} $B {sep}" if family in ("roberta", "xlm-roberta") else f"{sep} $B:1 {sep}:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {between}",
        special_tokens=[(token, vocabulary[token]) for token in (cls, sep)],
    )
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        model_input_names=[*inputs, "token_type_ids"] if family in SEGMENTS else inputs,
        **{f"{name}_token": token for name, token in names.items()},
    )


def tiny_config(family: str, *, layers: int = 4, hidden: int = 24, heads: int = 2, **changes: Any) -> Any:
    """The configuration of a tiny model; wide initial weights, so that outputs differ visibly between inputs."""
    tokenizer = make_tokenizer(family)
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "max_position_embeddings": 514,
        "initializer_range": 0.2,
        "pad_token_id": tokenizer.pad_token_id,
    }
    values["hidden_dim" if family == "distilbert" else "intermediate_size"] = 4 * hidden
    if family == "distilbert":
        values |= {"n_layers": layers, "dim": hidden, "n_heads": heads}
        del values["num_hidden_layers"], values["hidden_size"], values["num_attention_heads"]
    if family in ("roberta", "xlm-roberta"):
        values |= {"type_vocab_size": 1, "bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family in ("electra", "albert"):
        values["embedding_size"] = max(2, hidden // 2)
    if family == "albert":
        values |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family == "modernbert":
        ids = {"bos": tokenizer.cls_token_id, "cls": tokenizer.cls_token_id}
        ids |= {"eos": tokenizer.sep_token_id, "sep": tokenizer.sep_token_id}
        values |= {f"{name}_token_id": index for name, index in ids.items()} | {"local_attention": 8}
    if family == "mobilebert":
        # Its attention runs inside a narrow bottleneck; the embedding's width is that of word vectors before trigrams.
        values |= {"embedding_size": 8, "intra_bottleneck_size": hidden // 2, "intermediate_size": hidden}
    return CONFIG_MAPPING[family](**(values | changes))


def make_tiny_checkpoint(
    folder: Path | str,
    family: str,
    *,
    layers: int = 4,
    hidden: int = 24,
    heads: int = 2,
    head: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Saves a tiny model with random weights, and its tokenizer.

    Args:
        folder: Where; made if it does not exist.
        family: `FAMILIES`, or `mobilebert`.
        layers: Number of layers.
        hidden: Width; feed-forward is four times as wide.
        heads: Attention heads.
        head: Kind of its task head; None = a bare encoder.
        labels: Names of the head's outputs.
        seed: Of its weights; torch's own generator is left as it was.
    """
    folder = Path(folder)
    config = tiny_config(family, layers=layers, hidden=hidden, heads=heads)
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        if head is None:
            model = AutoModel.from_config(config)
        else:
            model = build_encoder(config, Task("tiny", load_kind(head), labels=tuple(labels)).head)
        model.save_pretrained(folder)
        make_tokenizer(family).save_pretrained(folder)
    return folder
