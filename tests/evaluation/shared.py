"""What several processes score together, each in a process of its own."""

from tests.corpus.toy_corpus import toy_corpus
from tests.masked_text import masked_encoder

from stillhouse.config import EngineConfig
from stillhouse.corpus.masking import Masking
from stillhouse.machine.engine import build_accelerator

BATCHES = 60  # tokens in one: of few rows there are several


def text(**options):
    """The words that tiny models know, some of them masked."""
    return toy_corpus(masking=Masking(share=0.3), **options)


def models(**options):
    """A student and a teacher with masked-LM heads."""
    return masked_encoder(layers=2, **options), masked_encoder(seed=1, layers=3)


def engine():
    return build_accelerator(EngineConfig(precision="fp32"))
