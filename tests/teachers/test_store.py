"""Features on disk are those of the model, however the store was filled."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.commands import leave
from tests.features import needing
from tests.teachers.toy_store import EVERYTHING, build, check, shards_of, texts
from tests.tiny_models import make_tiny_checkpoint, make_tokenizer, tiny_config
from tests.toy_data import TASKS
from tests.toy_splits import TOY_TASKS
from tests.training.toy_stage import toy_encoder, toy_split, training_context

from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.features import LOGITS, Feature
from stillhouse.models.loading import build_encoder
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.options import config_from_options
from stillhouse.runs.prepare import prepare
from stillhouse.teachers import fill, store
from stillhouse.teachers.shard import open_shard
from stillhouse.teachers.source import OnlineTeacher, StoredTeacher
from stillhouse.teachers.store import FeatureStore, Index, row_keys, used_bytes


def test_what_is_read_is_what_the_model_gives(tmp_path, passes):
    stored = build(tmp_path, EVERYTHING)
    assert isinstance(stored, StoredTeacher)
    assert not stored.index.lacking().any()
    assert sum(passes) == 97
    check(stored, tmp_path, rows=[3, 96, 0, 50])
    check(stored, tmp_path)


def test_rows_may_be_in_any_shard(tmp_path, small_shards):
    stored = build(tmp_path, EVERYTHING)
    assert len(stored.index.shards) > 5
    check(stored, tmp_path, rows=[3, 96, 0, 50])
    check(stored, tmp_path)


@pytest.mark.parametrize("task", ["multilabel", "regression", "tagging", "qa"])
def test_every_task(tmp_path, task):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    data = str(TASKS[task](tmp_path, rows=40))
    options = {"data": data, "teacher": str(teacher), "student": "2x24", "max_length": 48}
    prepared = prepare(with_defaults(config_from_options(options)))
    split, needs = prepared.splits["train"].tokens, needing(logits=True, hidden_states=frozenset({1}))
    stored = build(tmp_path, needs, split=split, encoder=prepared.teacher.encoder)
    assert isinstance(stored, StoredTeacher)
    online = OnlineTeacher(prepared.teacher.encoder, needs, training_context(tmp_path).accelerator)
    batch = split.batch(np.arange(11))
    ours, theirs = stored.features(batch), online.features(batch)
    assert ours[LOGITS].shape == theirs[LOGITS].shape
    where = batch.positions if task in ("tagging", "qa") else ...
    assert torch.allclose(ours[LOGITS][where], theirs[LOGITS][where], atol=1e-5)


def test_a_teacher_with_a_tokenizer_of_its_own_reads_its_own_view(tmp_path):
    task, columns = TOY_TASKS["tagging"]
    examples = Examples(**columns)
    lengths = {"bert": 48, "roberta": 8}
    views = [encode(examples, task, make_tokenizer(family), max_length=length) for family, length in lengths.items()]
    split, teacher = tokenized_split(examples, task, *views), build_encoder(tiny_config("roberta", layers=2), task.head)
    needs = needing(logits=True, hidden_states=frozenset({1}))
    stored = build(tmp_path, needs, split=split, encoder=teacher, view=1)
    assert isinstance(stored, StoredTeacher)
    assert stored.index.keys.tolist() == row_keys(views[1]).tolist() != row_keys(views[0]).tolist()
    batch = split.batch(np.arange(7))
    ours = stored.features(batch)
    theirs = OnlineTeacher(teacher, needs, training_context(tmp_path).accelerator, view=1).features(batch)
    assert ours[LOGITS].shape == (*batch.positions.shape, 3)
    assert torch.allclose(ours[LOGITS][batch.positions], theirs[LOGITS][batch.positions], atol=1e-5)
    mask = batch.views[1].mask.bool()
    assert mask.shape != batch.learner.mask.shape
    assert torch.allclose(*(features[Feature("hidden_state", 1)][mask] for features in (ours, theirs)), atol=1e-5)


def test_more_features_serve_whoever_needs_fewer(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    fewer = needing(logits=True, attentions=frozenset({2}), parts=frozenset({"value"}))
    check(build(tmp_path, fewer), tmp_path, needs=fewer)
    assert sum(passes) == 97
    more = EVERYTHING | needing(hidden_states=(1,))
    check(build(tmp_path, more), tmp_path, needs=more)
    assert sum(passes) == 2 * 97
    columns = [set(open_shard(path).columns) for path in shards_of(tmp_path)]
    assert sorted(map(len, columns)) == [1, len(EVERYTHING)]  # what was there is not written again


def test_a_cls_vector_is_found_in_its_hidden_state(tmp_path, passes):
    build(tmp_path, needing(hidden_states=frozenset({0, 1, 2})))
    needs = needing(cls=frozenset({1, 2}))
    check(build(tmp_path, needs), tmp_path, needs=needs)
    assert sum(passes) == 97


def test_only_stores_are_counted_and_removed(tmp_path):
    build(tmp_path, EVERYTHING)
    used = used_bytes(tmp_path / "store")
    mine = tmp_path / "store" / "project"
    mine.mkdir()
    for name, content in (("store.json", "{}"), ("model.safetensors", "weights"), ("notes", "mine")):
        (mine / name).write_text(content)
    own = shards_of(tmp_path)[0].parent
    (own / "notes").write_text("mine too")
    assert used_bytes(tmp_path / "store") == used
    assert leave("store", "rm", "--all", "--store", str(tmp_path / "store")) == 0
    assert len(list(mine.iterdir())) == 3
    assert [path.name for path in own.iterdir()] == ["notes"]


def test_equal_texts_are_computed_once(tmp_path, passes):
    split = toy_split().select(np.array([7, 3, 3, 11, 7, 7]))
    check(build(tmp_path, EVERYTHING, split=split), tmp_path, rows=range(6), split=split)
    assert sum(passes) == 3
    assert sum(len(open_shard(path).keys) for path in shards_of(tmp_path)) == 3


def test_rows_get_what_they_lack_and_no_more(tmp_path, passes):
    few = toy_split().select(np.arange(10))
    build(tmp_path, needing(hidden_states=frozenset({2})), split=few)
    passes.clear()
    needs = needing(logits=True, hidden_states=frozenset({2}))
    check(build(tmp_path, needs), tmp_path, needs=needs)
    assert sum(passes) == 97
    rows = {}
    for path in shards_of(tmp_path):
        shard = open_shard(path)
        for feature in shard.columns:
            rows[str(feature)] = rows.get(str(feature), 0) + len(shard.keys)
    assert rows == {"logits": 97, "hidden_state_2": 97}


def test_another_split_of_the_same_text_finds_its_rows(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    rows = np.array([7, 3, 3, 11])  # twice the same text
    part = toy_split().select(rows)
    stored = build(tmp_path, EVERYTHING, split=part)
    assert sum(passes) == 97
    check(stored, tmp_path, rows=[0, 1, 2, 3], split=part)


def test_other_text_or_another_teacher_never_meets_old_features(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    other = toy_split(seed=1)
    assert not texts(toy_split().learner) & texts(other.learner)
    check(build(tmp_path, EVERYTHING, split=other), tmp_path, split=other)
    assert sum(passes) == 2 * 97
    build(tmp_path, EVERYTHING, encoder=toy_encoder(4))
    assert sum(passes) == 3 * 97
    segments = toy_split().learner
    values = np.ones_like(segments.token_type_ids.values)
    encoded = dataclasses.replace(segments, token_type_ids=Ragged(values, segments.token_type_ids.offsets))
    assert not texts(encoded) & texts(segments)


def test_another_precision_or_version_has_a_store_of_its_own(tmp_path, monkeypatch):
    def folder(precision="fp32"):
        return FeatureStore(tmp_path, "teacher", precision).folder

    mine = folder()
    assert folder() == mine != folder("bf16")
    monkeypatch.setattr(store, "version", lambda _: "0.0.1")
    assert folder() != mine


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_waits_to_be_written_holds_no_more_than_that(dtype):
    states, real = torch.randn(3, 7, 4), torch.arange(7) < torch.tensor([[7], [2], [5]])
    for kept, expected in (
        (fill._kept(states[:, 0], None, dtype), states[:, 0]),
        (fill._kept(states, real, dtype), states[real]),
    ):
        assert torch.equal(kept, expected.to(dtype))
        assert kept.untyped_storage().nbytes() == kept.nbytes


def test_many_features(tmp_path):
    """More than a number has bits: one lacks the last of them alone."""
    keys, lengths = np.arange(6, dtype=np.uint64).reshape(3, 2), np.full(3, 4)
    index = Index(keys, lengths, [])
    for layer in range(70):
        index.places[Feature("cls", layer)] = np.zeros(3, np.int64), np.arange(3)
    index.places[Feature("cls", 69)][0][1] = -1
    ((features, rows),) = index.missing()
    assert (features, rows.tolist()) == (needing(cls=(69,)), [1])
