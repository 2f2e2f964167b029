"""What every file in `tasks/` promises, tried on a small data set of its own."""

import json

import numpy as np
import pytest
import torch
from tests.features import giving
from tests.tiny_models import make_tokenizer, tiny_config
from tests.toy_data import TASKS

from stillhouse.config import DataConfig
from stillhouse.data.dataset import load_dataset
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.evaluation.evaluate import Split, decode, main_score, main_statistics
from stillhouse.evaluation.floor import floor_score
from stillhouse.evaluation.likeness import calibration_error, likeness_to_teacher
from stillhouse.evaluation.recorded import recorded_agreement, recorded_statistics
from stillhouse.models.architecture import head_kind
from stillhouse.models.loading import head_config
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.soft_labels import SoftLabels
from stillhouse.task import Kind, kind_names, load_kind

ROWS = 40
pytestmark = pytest.mark.parametrize("name", kind_names())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """By name of a kind, its toy data."""
    found = {}

    def read(name):
        if name not in found:
            found[name] = load_dataset(DataConfig(source=str(TASKS[name](tmp_path_factory.mktemp(name), ROWS))))
        return found[name]

    return read


@pytest.fixture
def split(name, dataset):
    data = dataset(name)
    rows = data.train.select(data.train.labelled)
    tokens = encode(rows, data.task, make_tokenizer("bert"), max_length=48, stride=16)
    return Split(rows, tokenized_split(rows, data.task, tokens))


def whole(split):
    return split.tokens.batch(np.arange(len(split.tokens)))


def drawn(split, seed):
    """Random logits of all rows, in one batch."""
    shape = (*whole(split).positions.shape, split.task.logits)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def hard(logits, batch):
    return HardLabels()(giving(logits=logits), giving(), batch)


def soft(student, teacher, batch, **options):
    return SoftLabels(**options)(giving(logits=student), giving(logits=teacher), batch)


def learnt(split):
    """The logits at which the loss against the gold labels is least, found by descending it."""
    logits, batch = torch.zeros_like(drawn(split, 0)).requires_grad_(), whole(split)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        hard(logits, batch).backward()
        optimizer.step()
    return logits.detach()


def predicted(split, logits):
    """What a model that gives these logits says."""
    scored = split.task.kind.scored(split.tokens.learner)
    values = logits.numpy()
    if scored is not None:
        values = Ragged.from_rows([row[:length] for row, length in zip(values, scored.lengths, strict=True)], np.float32)
    return decode(split, values)


def lines(split, **roles):
    """predictions.jsonl as it is read back."""
    kind, task = split.task.kind, split.task
    written = [
        {"gold": kind.to_names(label, task)} | {role: kind.written(split, said, row) for role, said in roles.items()}
        for row, label in enumerate(split.examples.labels)
    ]
    return json.loads(json.dumps(written))


def test_its_name_is_that_of_its_file(name, dataset):
    kind = load_kind(name)
    assert isinstance(kind, Kind)
    assert kind.name == str(kind) == name
    assert dataset(name).task.kind == kind
    assert DataConfig.model_validate(DataConfig(task=name).model_dump(mode="json")).task == name
    assert [load_kind(other) == kind for other in kind_names()].count(True) == 1


def test_a_checkpoint_with_its_head_is_known(name, dataset):
    task = dataset(name).task
    config = head_config(tiny_config("bert"), task.head)
    assert head_kind(config) == task.kind
    assert config.num_labels == task.logits


def test_labels_come_back_from_their_names(name, dataset):
    task = dataset(name).task
    ids = {label: number for number, label in enumerate(task.labels)}
    labels = [label for label in dataset(name).train.labels if label is not None]
    if task.kind.has_classes:
        assert [task.kind.to_ids(task.kind.to_names(label, task), ids) for label in labels] == labels
    else:
        assert task.labels == ()
        assert [task.kind.to_ids(label, ids) for label in labels] == labels


def test_what_is_written_is_read_back(name, split):
    kind, labels = split.task.kind, split.task.labels
    teacher, student = (predicted(split, 3 * drawn(split, seed)) for seed in (1, 2))
    record = lines(split, teacher=teacher, student=student)
    for role, said in (("teacher", teacher), ("student", student)):
        _, statistics = main_statistics(split, said)
        assert np.allclose(recorded_statistics(kind, labels, record, role), statistics)
    agreement = likeness_to_teacher(split, teacher, student).agreement
    assert recorded_agreement(kind, labels, record, record) == pytest.approx(agreement)
    assert agreement < 1


def test_the_least_hard_loss_is_at_logits_that_decode_to_the_gold_labels(name, split):
    perfect, batch = learnt(split), whole(split)
    least = hard(perfect, batch)
    assert least < 0.01
    assert all(hard(perfect + 3 * drawn(split, seed), batch) > least for seed in range(5))
    assert main_score(split, predicted(split, perfect)) == pytest.approx(1, abs=1e-4)
    assert floor_score(split) < 0.9
    assert main_score(split, predicted(split, drawn(split, 0))) < 0.9


def test_the_soft_loss_is_zero_where_both_sides_agree(name, split):
    batch, (teacher, student) = whole(split), (drawn(split, seed) for seed in (1, 2))
    for options in ({}, {"temperature": 3.0}, {"scale": "none"}, {"per_class": True}):
        assert soft(teacher, teacher, batch, divergence="kl", **options) == pytest.approx(0, abs=1e-5)
        assert soft(student, teacher, batch, divergence="kl", **options) > 1e-3


def test_losses_of_parts_make_up_that_of_the_whole(name, split):
    """Each is a mean over what its unit counts."""
    batch, (student, teacher) = whole(split), (drawn(split, seed) for seed in (1, 2))
    rows = np.arange(len(split.tokens))
    total = split.tokens.counts(rows)
    for loss, objective in (
        (lambda one, other, part: hard(one, part), HardLabels()),
        (lambda one, other, part: soft(one, other, part, temperature=2.0), SoftLabels()),
    ):
        parts = [
            loss(student[part], teacher[part], batch.select(part))
            * (split.tokens.counts(part)[objective.unit] / total[objective.unit])
            for part in (rows[:7], rows[7:])
        ]
        assert sum(parts) == pytest.approx(loss(student, teacher, batch).item(), rel=1e-5)


def test_a_model_is_like_itself(name, split):
    one, other = (predicted(split, drawn(split, seed)) for seed in (1, 2))
    itself, likeness = likeness_to_teacher(split, one, one), likeness_to_teacher(split, one, other)
    assert itself.agreement == pytest.approx(1)
    assert itself.per_example == pytest.approx(np.zeros(len(split)), abs=1e-9)
    assert (likeness.per_example > 0).any()
    assert (likeness.kl is None) == (not split.task.kind.has_distribution)
    error = calibration_error(split, one)
    assert (error is None) == (not split.task.kind.has_distribution)
    assert error is None or 0 < error < 1
