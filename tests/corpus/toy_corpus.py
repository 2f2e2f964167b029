"""Some documents of words that tiny tokenizers know, and their blocks without a file."""

import numpy as np
from tests.tiny_models import WORDS, make_tokenizer

from stillhouse.corpus.corpus import Corpus
from stillhouse.corpus.packing import packed
from stillhouse.corpus.tokens import vocabulary_of
from stillhouse.data.ragged import Ragged
from stillhouse.task import Task, load_kind

TASK = Task("toy", load_kind("classification"), ("no", "yes"))
TOKENIZER = make_tokenizer("bert")
VOCABULARY = vocabulary_of(TOKENIZER)


def documents(count=30, seed=0, longest=40):
    """Documents of one to `longest` words, the first words of the list the most frequent by far."""
    random = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, len(WORDS) + 1)
    sizes = random.integers(1, longest + 1, count)
    return [" ".join(random.choice(WORDS, size, p=frequency / frequency.sum())) for size in sizes]


def toy_corpus(count=30, block_length=16, masking=None, seed=0):
    rows = TOKENIZER(documents(count, seed), add_special_tokens=False)["input_ids"]
    ids = np.concatenate([[*row, VOCABULARY.border] for row in rows]).astype(VOCABULARY.dtype)
    parts = list(packed(ids, [(0, len(ids))], VOCABULARY, block_length))
    values = np.concatenate([values for values, _ in parts])
    lengths = np.concatenate([lengths for _, lengths in parts])
    counts = np.bincount(values, minlength=VOCABULARY.size)
    blocks = Ragged(values, np.concatenate(([0], np.cumsum(lengths))))
    return Corpus(blocks, VOCABULARY, f"toy {count} {seed}", counts, counts).masked(masking)
