"""Tokenization: segments, sub-words of listed words, windows of long contexts."""

import numpy as np
import pytest
from tests.tiny_models import FAMILIES, make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from stillhouse.data import tokenize
from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.models.loading import same_tokens
from stillhouse.task import Answer, Task, load_kind

TAGGING = Task("x", load_kind("tagging"), ("O", "B-X"))
QA = Task("x", load_kind("qa"))


def byte_level(*, trim: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which words after a space are tokens, as in RoBERTa; without one they fall into letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "Ġhello", "Ġworld", "Ġparis", "hello"]
    merges, known = [], {piece: index for index, piece in enumerate(pieces)}
    for word in ("Ġhello", "Ġworld", "Ġparis"):
        for end in range(2, len(word) + 1):
            known.setdefault(word[:end], len(known))
            merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(known, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    tokenizer.decoder = decoders.ByteLevel()
    special = [("<s>", known["<s>"]), ("</s>", known["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=special
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", pad_token="<pad>")


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_have_segments_whatever_the_tokenizer_gives_unasked(family):
    tokenizer = make_tokenizer(family)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    task = Task("x", load_kind("classification"), ("a", "b"))
    encoded = encode(Examples(["good"], [0], ["bad day"]), task, tokenizer, max_length=16)
    expected = tokenizer("good", "bad day", return_token_type_ids=True)
    assert encoded.token_type_ids[0].tolist() == expected["token_type_ids"]
    assert encoded.input_ids[0].tolist() == expected["input_ids"]


def test_listed_words_are_cut_as_in_running_text():
    tokenizer = byte_level()
    rule = tokenizer.backend_tokenizer.to_str()
    encoded = encode(Examples([["hello", "world", "paris"]], [(0, 0, 1)]), TAGGING, tokenizer, max_length=16)
    pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids[0])
    assert pieces == ["<s>", "Ġhello", "Ġworld", "Ġparis", "</s>"]
    assert encoded.words[0].tolist() == [1, 2, 3]
    assert '"add_prefix_space":false' in tokenizer.backend_tokenizer.to_str().replace(" ", "")
    assert same_tokens(tokenizer, byte_level())
    assert rule.count("add_prefix_space") == tokenizer.backend_tokenizer.to_str().count("add_prefix_space")


def test_words_that_are_cut_off_have_no_position():
    encoded = encode(Examples([["good"] * 9], [(0,) * 9]), TAGGING, make_tokenizer("bert"), max_length=6)
    assert encoded.words[0].tolist() == [1, 2, 3, 4, -1, -1, -1, -1, -1]


def test_an_answer_does_not_begin_with_the_space_before_it():
    encoded = encode(Examples(["hello"], [None], ["hello world paris"]), QA, byte_level(), max_length=32)
    spans = encoded.characters[0]
    inside = spans[spans[:, 0] >= 0]
    assert ["hello world paris"[start:end] for start, end in inside if end - start > 1][-2:] == ["world", "paris"]


def test_long_contexts_become_windows_and_answers_lie_in_those_that_hold_them():
    words = [f"{word}" for word in ["good", "bad", "day", "city"] * 12]
    context = " ".join(words) + " paris"
    examples = Examples(["where"], [(Answer("paris", context.index("paris")),)], [context])
    encoded = encode(examples, QA, make_tokenizer("bert"), max_length=24, stride=4)
    split = tokenized_split(examples, QA, encoded)
    assert len(encoded) > 2
    assert set(encoded.example.tolist()) == {0}
    assert split.labels[:-1].tolist() == [[0, 0]] * (len(encoded) - 1)
    start, end = split.labels[-1]
    first, last = encoded.characters[len(encoded) - 1][[start, end]]
    assert context[first[0] : last[1]] == "paris"
    covered = {int(position) for row in range(len(encoded)) for position in encoded.characters[row][:, 0]}
    assert {match for match in range(len(context)) if context[match] == "p"} <= covered


def test_spaces_around_an_answer_are_not_part_of_it():
    context = "we went to paris today"
    examples = Examples(["where"], [(Answer(" paris ", context.index(" paris ")),)], [context])
    encoded = encode(examples, QA, make_tokenizer("bert"), max_length=32)
    start, end = tokenized_split(examples, QA, encoded).labels[0]
    assert start == end
    assert context[slice(*encoded.characters[0][start])] == "paris"


def test_tokenizing_in_parts_changes_nothing(monkeypatch):
    examples = Examples(["where is it"] * 5, [None] * 5, [" ".join(["good day in paris"] * repeats) for repeats in range(1, 6)])
    whole = encode(examples, QA, make_tokenizer("bert"), max_length=20, stride=4)
    monkeypatch.setattr(tokenize, "PART", 2)
    parts = encode(examples, QA, make_tokenizer("bert"), max_length=20, stride=4)
    assert whole.fingerprint() == parts.fingerprint()
    assert np.array_equal(whole.example, parts.example)


def test_the_same_tokenizer_is_recognised_after_use():
    one, other = make_tokenizer("bert"), make_tokenizer("bert")
    one(["a day"], truncation=True, max_length=3, padding="max_length")
    assert same_tokens(one, other)
    assert not same_tokens(one, make_tokenizer("roberta"))


@pytest.mark.parametrize("context", ["", "in.", " hello"])
def test_a_context_may_be_shorter_than_its_question(context):
    question = "hello world paris hello world"
    encoded = encode(Examples([question], [()], [context]), QA, byte_level(), max_length=24)
    spans = encoded.characters[0]
    assert [context[start:end] for start, end in spans if start >= 0 and start < end] == list(_pieces(context))


def _pieces(context):
    return [context.strip()] if "hello" in context else context


def test_words_that_no_model_sees_are_counted():
    rows = Examples([["hello"] * 9, ["world"]], [(0,) * 9, (1,)])
    encoded = encode(rows, TAGGING, byte_level(), max_length=6)
    assert TAGGING.kind.cut_note(encoded, 6) == "5 words lie beyond 6 tokens or have none; they are tagged as outside"
    assert TAGGING.kind.cut_note(encode(rows, TAGGING, byte_level(), max_length=32), 32) == ""


def test_rows_that_fill_the_length_are_counted():
    rows = Examples(["hello " * 9, "hello " * 4, "world"], [0, 1, 0])
    task = Task("toy", load_kind("classification"), ("a", "b"))
    encoded = encode(rows, task, make_tokenizer("bert"), max_length=6)
    assert task.kind.cut_note(encoded, 6) == "2 of 3 rows fill 6 tokens; longer ones are cut (--max-length)"
    assert task.kind.cut_note(encode(rows, task, make_tokenizer("bert"), max_length=64), 64) == ""
