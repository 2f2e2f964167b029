"""A teacher from nothing: kept by what it is made of, and then a model folder as any other."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_models import make_tokenizer

from stillhouse.config import TeacherConfig
from stillhouse.data.seeds import FRESH_TEACHER, stage_seed
from stillhouse.errors import UserError
from stillhouse.models.loading import build_encoder, has_head, load_encoder, load_tokenizer, notes_on
from stillhouse.models.vocabulary_file import SPECIAL
from stillhouse.task import MASKED_LM, NO_HEAD
from stillhouse.teachers import new_teacher as module
from stillhouse.teachers.kept import damaged_folders, kept_folders
from stillhouse.teachers.kept_models import teachers_root
from stillhouse.teachers.new_teacher import find_teacher, new_teacher


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL.values(), "a", "film", "##s"]) + "\n")
    return str(path)


def weights(checkpoint):
    return load_file(checkpoint.folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_is_a_bare_bert_of_the_shape(vocab):
    found = new_teacher("2x128", vocab, seed=3)
    assert (found.name, found.source, found.config.architectures) == ("bert-2x128", "2x128", ["BertModel"])
    assert found.folder.parent == teachers_root()
    config, tokenizer = found.config, load_tokenizer(found)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size) == (
        2,
        128,
        2,
        512,
    )
    assert (config.vocab_size, config.max_position_embeddings, config.pad_token_id) == (8, 512, 0)
    assert tokenizer.tokenize("A films") == ["a", "film", "##s"]
    assert has_head(found, NO_HEAD)
    assert not has_head(found, MASKED_LM)
    model, is_own = load_encoder(found, MASKED_LM)
    assert not is_own
    assert model.bert.embeddings.word_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert model(**tokenizer("a film", return_tensors="pt")).logits.shape == (1, 4, 8)
    (note,) = notes_on(found, tokenizer)
    assert note == (
        "bert-2x128: a new BERT with random weights: 2 layers x 128, 2 heads of 64, feed-forward 512; "
        f"8 tokens of {vocab}, text is lower-cased"
    )


@pytest.mark.parametrize(
    ("spec", "heads", "feed_forward", "said"),
    [
        ("1x312", 12, 1200, "12 heads of 26 (the width is no multiple of 64)"),
        ("1x64", 1, 256, "1 head of 64,"),
        ("1x14", 7, 56, "7 heads of 2 (the width"),
        ("1x13", 1, 52, "1 head of 13 (the width"),
        (" 1 x 832 ", 13, 3328, "13 heads of 64,"),
    ],
)
def test_heads(vocab, spec, heads, feed_forward, said):
    found = new_teacher(spec, vocab, seed=0)
    assert (found.config.num_attention_heads, found.config.intermediate_size) == (heads, feed_forward)
    assert said in found.notes[0]


def test_it_is_kept_by_what_it_is_made_of(vocab, tmp_path, monkeypatch):
    before = torch.get_rng_state()
    first = new_teacher("1x8", vocab, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    longer = tmp_path / "longer.txt"
    longer.write_text(Path(vocab).read_text() + "more\n")
    others = [new_teacher("1x8", vocab, 1), new_teacher("2x8", vocab, 0), new_teacher("1x12", vocab, 0)]
    others.append(new_teacher("1x8", str(longer), 0))
    assert len({one.folder for one in (first, *others)}) == 5
    assert not same(weights(first), weights(others[0]))
    whole = weights(first)
    monkeypatch.setattr(module, "build_encoder", lambda *_: pytest.fail("made again"))
    renamed = tmp_path / "renamed.txt"
    renamed.write_bytes(Path(vocab).read_bytes())
    assert new_teacher("1X8", str(renamed), 0).folder == first.folder
    monkeypatch.undo()
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "elsewhere"))
    torch.manual_seed(5)
    assert same(weights(new_teacher("1x8", vocab, 0)), whole)


def test_its_weights_come_from_a_stream_of_its_own(vocab):
    found = new_teacher("1x24", vocab, 7)
    torch.manual_seed(stage_seed(7, FRESH_TEACHER))
    assert same(build_encoder(found.config, NO_HEAD).state_dict(), weights(found))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_one_is_made_again(vocab, name, damage):
    kept = new_teacher("1x8", vocab, 0).folder
    path, whole = kept / name, (kept / name).read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(whole[: len(whole) // 2])
    assert new_teacher("1x8", vocab, 0).folder == kept
    assert path.exists()
    assert (kept / "model.safetensors").stat().st_size > 0
    assert name == "tokenizer_config.json" or path.read_bytes() == whole
    assert list(damaged_folders()) == []


def test_the_command_shows_it(vocab):
    found = new_teacher("1x8", vocab, 0)
    (shown,) = kept_folders()[teachers_root()]
    assert (shown.folder, shown.about) == (found.folder, "1x8 BertModel")


def test_the_vocabulary_is_that_of_the_bundled_encoder(tmp_path, vocab, monkeypatch):
    tokenizer = make_tokenizer("bert")
    tokenizer("a", truncation=True, max_length=3)
    monkeypatch.setattr(module, "_bundled_tokenizer", lambda: tokenizer)
    found = find_teacher(TeacherConfig(source="1x8"))
    assert load_tokenizer(found).get_vocab() == tokenizer.get_vocab()
    assert "all-MiniLM-L6-v2" in found.notes[0]
    other = find_teacher(TeacherConfig(source="1x8", vocab=vocab, seed=4))
    assert same(weights(other), weights(new_teacher("1x8", vocab, 4)))
    assert find_teacher(TeacherConfig(source=str(other.folder))).name == other.folder.name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("0x8", r"teacher '0x8' has 0 layers of width 8\n  expected: at least one layer and a positive width"),
        ("2x-8", "has 2 layers of width -8"),
        ("half", r"no new teacher can be made as 'half'\n  expected: LxH such as 4x256"),
        ("1001x8", "no new teacher can be made as '1001x8'"),
        ("900x200000", r"takes [\d,.]+ GiB, there is room for [\d,.]+ GiB\n  expected: .*\n  fix: ask for fewer layers"),
    ],
)
def test_shapes_that_are_not_possible(vocab, spec, message):
    with pytest.raises(UserError, match=message):
        new_teacher(spec, vocab, 0)
    assert not teachers_root().exists()


def test_a_place_that_is_not_ours(vocab, tmp_path, monkeypatch):
    kept = new_teacher("1x8", vocab, 0).folder
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"is a link, where a teacher is kept\n  .*\n  fix: set STILLHOUSE_CACHE"):
        new_teacher("1x8", vocab, 0)
    assert kept.is_symlink()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="STILLHOUSE_CACHE"):
        new_teacher("1x8", vocab, 0)


def make(vocab, cache):
    os.environ["STILLHOUSE_CACHE"] = cache
    new_teacher("1x8", vocab, 0)


def test_several_processes_make_one(vocab, tmp_path, server):
    cache = str(tmp_path / "shared")
    processes = [server.Process(target=make, args=(vocab, cache)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list((tmp_path / "shared" / "teachers").iterdir())) == 1
