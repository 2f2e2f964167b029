"""A toy task on random tokens, a tiny encoder, and all that a stage needs to train it."""

import numpy as np
import torch
from tests.tiny_models import tiny_config

from stillhouse.config import EngineConfig, StageConfig
from stillhouse.console import Console
from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import Encoded
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.machine.engine import build_accelerator
from stillhouse.method import Stage
from stillhouse.models.loading import build_encoder
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.task import Task, load_kind
from stillhouse.training.log import RunLog
from stillhouse.training.stages import TrainingContext, train_stage

TASK = Task("toy", load_kind("classification"), ("no", "yes"))
VOCABULARY = 60
SILENT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def toy_split(rows=97, seed=0):
    """Label = whether token 7 occurs more often than token 8."""
    random = np.random.default_rng(seed)
    texts = [random.integers(7, 13, random.integers(3, 12)).tolist() for _ in range(rows)]
    labels = [int(text.count(7) > text.count(8)) for text in texts]
    ids = Ragged.from_rows([[2, *text, 3] for text in texts], np.int32)
    encoded = Encoded(ids, Ragged(np.zeros_like(ids.values), ids.offsets), np.arange(rows), 0)
    return tokenized_split(Examples(text=[""] * rows, labels=labels), TASK, encoded)


def toy_encoder(seed=0, layers=2, **options):
    torch.manual_seed(seed)
    return build_encoder(tiny_config("bert", layers=layers, vocab_size=VOCABULARY, **options), TASK.head)


class Reporting(Console):
    """Tells every step to a function."""

    def __init__(self, report):
        super().__init__(quiet=True)
        self.progress = report


def unwatched(step, steps, name):
    """Nothing happens at any step."""


def training_context(folder, *, report=unwatched, **engine):
    """Where something happens at a step, such as a kill, a checkpoint follows each; elsewhere that would be half the time."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 3600.0 if report is unwatched else 0.0
    config = EngineConfig(**{"precision": "fp32", "log_every": 2, "checkpoint_seconds": seconds, **engine})
    log = RunLog(folder / "log.jsonl")
    return TrainingContext(build_accelerator(config), config, folder / "checkpoints", log, Reporting(report))


def train_stages(stages, encoder, text, score, context, **options):
    """One after the other, as a run does."""
    return [train_stage(stage, encoder, text, score, context, number=number, **options) for number, stage in enumerate(stages)]


def hard_stage(**config):
    values = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 16, **config}
    return Stage("distil", (HardLabels(),), StageConfig(**values))


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)
