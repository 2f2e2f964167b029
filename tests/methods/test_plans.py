"""What each method lays out for which models, and what it refuses."""

import pytest

from stillhouse.comparison.wording import in_comparison
from stillhouse.corpus.masking import Masking
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Trained
from stillhouse.methods import load_method
from stillhouse.runs.reading import parse_config
from stillhouse.students.side import StageSide
from stillhouse.task import load_kind


def encoder(layers, width=768, heads=12, **options):
    return Dimensions(
        **({"attention_width": width, "windows": (None,) * layers} | options), layers=layers, width=width, heads=heads
    )


BASE = encoder(12)
MODERN = encoder(6, windows=(None, 64, 64, None, 64, 64), family="modernbert")


def plan(name, student, teacher=BASE, kind="classification", **settings):
    method = parse_config({"method": {"name": name, **settings}}).method
    return method.plan(load_kind(kind), student, teacher)


def general(name, student, teacher=BASE, **settings):
    (stage,) = parse_config({"method": {"name": name, **settings}}).method.general(student, teacher)
    return stage


def terms(stage):
    return {objective.name: objective for objective in stage.objectives}


# Fine-tuning.


def test_without_a_teacher_masked_tokens_are_learnt():
    stage = general("finetune", encoder(6), masking={"whole_words": True})
    assert (list(terms(stage)), stage.teacher, stage.masking) == (["masked_lm"], None, Masking(whole_words=True))
    assert (stage.config.epochs, stage.config.learning_rate, stage.config.select_on) == (3, 1e-4, "last")


# DistilBERT.


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [(6, 12, (0, 2, 4, 7, 9, 11)), (3, 6, (0, 3, 5)), (4, 12, (0, 4, 7, 11)), (12, 12, tuple(range(12))), (1, 6, (0,))],
)
def test_distilbert_starts_from_the_published_layers(student, teacher, layers):
    # floor(i (N - 1) / (M - 1) + 1/2), from 0: 12 -> 4 is 0, 3.67, 7.33, 11.
    copied = load_method("distilbert").model_validate({}).copied_layers(student, teacher)
    assert tuple(layer - 1 for layer in copied) == layers


def test_distilbert_has_the_papers_weights():
    stage = general("distilbert", encoder(6))
    found = terms(stage)
    assert {name: term.weight for name, term in found.items()} == {"soft_tokens": 5, "masked_lm": 2, "hidden_cosine": 1}
    assert (found["soft_tokens"].temperature, found["soft_tokens"].positions) == (2.0, "all")
    assert found["hidden_cosine"].layers == ((6, 12),)
    assert stage.masking == Masking(share=0.15, rarity=0.7)
    assert (stage.config.warmup, stage.config.weight_decay, stage.config.max_grad_norm) == (0.05, 0, 5)
    (distil,) = plan("distilbert", encoder(6), temperature=4)
    labels = terms(distil)
    assert (labels["hard_labels"].weight, labels["soft_labels"].weight) == (pytest.approx(0.3), 0.7)
    assert labels["soft_labels"].temperature == 4


def test_what_has_no_weight_in_distilbert_is_left_out():
    for name, term in (("soft_tokens", "soft_tokens"), ("masked", "masked_lm"), ("cosine", "hidden_cosine")):
        assert term not in terms(general("distilbert", encoder(6), **{f"weight_{name}": 0}))


def test_distilbert_asks_for_a_map_between_different_widths():
    with pytest.raises(UserError, match=r"width is 312 and the teacher's 768\n.*768\n.*method\.projection=true"):
        general("distilbert", encoder(3, 312))
    side = general("distilbert", encoder(3, 312), projection=True).side
    assert (side.layers, side.student_width, side.teacher_width) == ((3,), 312, 768)
    assert type(general("distilbert", encoder(3, 312), weight_cosine=0).side) is StageSide
    assert plan("distilbert", encoder(3, 312))  # a task compares no vectors


# PKD.


@pytest.mark.parametrize(
    ("layer_map", "layers", "pairs"),
    [
        ("skip", 6, ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))),
        ("last", 6, ((1, 7), (2, 8), (3, 9), (4, 10), (5, 11))),
        ("skip", 3, ((1, 4), (2, 8))),
        ("last", 3, ((1, 10), (2, 11))),
        ("skip", 4, ((1, 3), (2, 6), (3, 9))),
        ([1, 5], 3, ((1, 1), (2, 5))),
    ],
)
def test_pkd_leaves_the_top_layer_out(layer_map, layers, pairs):
    (stage,) = plan("pkd", encoder(layers), layer_map=layer_map)
    assert terms(stage)["normalised_cls"].layers == pairs


def test_pkd_has_the_papers_weights_and_first_layers():
    (stage,) = plan("pkd", encoder(6), weight_patient=500.0)
    found = terms(stage)
    assert found["hard_labels"].weight == pytest.approx(0.3)
    assert (found["soft_labels"].weight, found["soft_labels"].temperature) == (0.7, 10.0)
    assert found["normalised_cls"].weight == 500.0
    assert load_method("pkd").model_validate({}).copied_layers(3, 12) == (1, 2, 3)


def test_official_pkd_divides_the_soft_term_by_the_classes():
    assert terms(plan("pkd", encoder(6), compat="official")[0])["soft_labels"].per_class
    assert not terms(plan("pkd", encoder(6))[0])["soft_labels"].per_class


def test_pkd_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match=r"width is 312 and the teacher's 768\n.*768\n.*method\.projection=true"):
        plan("pkd", encoder(4, 312))
    (stage,) = plan("pkd", encoder(4, 312), projection=True)
    assert (stage.side.layers, stage.side.student_width, stage.side.teacher_width) == ((1, 2, 3), 312, 768)
    with pytest.raises(UserError, match="only one layer"):
        plan("pkd", encoder(1))
    with pytest.raises(
        UserError, match=r"layer_map names teacher layer 13, but the teacher has 12 layers\n  expected: layers 1\.\.12"
    ):
        plan("pkd", encoder(3), layer_map=[1, 13])
    with pytest.raises(
        UserError, match=r"names 3 teacher layers for a student of 3 layers\n  expected: 2, one a layer but the last"
    ):
        plan("pkd", encoder(3), layer_map=[1, 2, 3])
    with pytest.raises(UserError, match=r"student of 7 layers .* teacher that has 6"):
        plan("pkd", encoder(7), encoder(6))


# TinyBERT.


@pytest.mark.parametrize(
    ("layer_map", "teacher_layers"),
    [("uniform", (3, 6, 9, 12)), ("top", (9, 10, 11, 12)), ("bottom", (1, 2, 3, 4)), ([2, 4, 5, 12], (2, 4, 5, 12))],
)
def test_tinybert_maps_layers(layer_map, teacher_layers):
    intermediate, prediction = plan("tinybert", encoder(4, 312), layer_map=layer_map)
    pairs = tuple(enumerate(teacher_layers, 1))
    found = terms(intermediate)
    assert found["hidden_mse"].layers == found["attention_scores_mse"].layers == pairs
    assert found["embedding_mse"].layers == ((0, 0),)
    assert list(terms(prediction)) == ["soft_labels"]
    assert (terms(prediction)["soft_labels"].divergence, terms(prediction)["soft_labels"].temperature) == ("ce", 1.0)
    assert (intermediate.side.layers, intermediate.side.sharing) == ((0, 1, 2, 3, 4), "per_layer")
    assert intermediate.config.select_on == "none"


@pytest.mark.parametrize("settings", [{}, {"compat": "official"}, {"layer_map": "top", "projections": "shared"}])
def test_tinybert_learns_the_same_from_a_corpus_as_first_from_a_task(settings):
    on_corpus, on_task = general("tinybert", encoder(4, 312), **settings), plan("tinybert", encoder(4, 312), **settings)[0]
    assert (on_corpus.objectives, on_corpus.side, on_corpus.pads) == (on_task.objectives, on_task.side, on_task.pads)
    assert on_corpus.masking is None
    assert (on_corpus.config.decay, on_corpus.config.select_on) == ("linear", "none")
    assert general("tinybert", encoder(4), masking={"share": 0.1}).masking == Masking(share=0.1)


def test_the_ablations_of_tinybert():
    kinds = ("embedding", "hidden", "attention")
    names = {"embedding": "embedding_mse", "hidden": "hidden_mse", "attention": "attention_scores_mse"}
    for kind in kinds:
        intermediate, _ = plan("tinybert", encoder(4), **{kind: False})
        assert set(terms(intermediate)) == {names[other] for other in kinds if other != kind}
    (prediction,) = plan("tinybert", encoder(4), **dict.fromkeys(kinds, False))
    assert list(terms(prediction)) == ["soft_labels"]
    with pytest.raises(UserError, match="leave nothing to learn from a corpus"):
        general("tinybert", encoder(4), **dict.fromkeys(kinds, False))
    assert list(terms(plan("tinybert", encoder(4), prediction=False)[1])) == ["hard_labels"]


def test_official_tinybert():
    intermediate, prediction = plan("tinybert", encoder(4), compat="official")
    found = terms(intermediate)
    assert (found["embedding_mse"].tokens, found["hidden_mse"].tokens, found["attention_scores_mse"].pairs) == (
        "all",
        "all",
        "official",
    )
    assert terms(prediction)["soft_labels"].per_class
    assert (intermediate.pads, prediction.pads, plan("tinybert", encoder(4))[0].pads) == (True, False, False)
    assert list(terms(plan("tinybert", encoder(4), kind="regression", compat="official")[1])) == ["hard_labels"]
    assert list(terms(plan("tinybert", encoder(4), kind="regression")[1])) == ["soft_labels"]


def test_tinybert_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match=r"student has 6 heads and the teacher 12\n  expected: a student with 12 heads"):
        general("tinybert", encoder(4, heads=6))
    with pytest.raises(UserError, match="student has 6 heads"):
        plan("tinybert", encoder(4, heads=6))
    assert plan("tinybert", encoder(4, heads=6), attention=False)
    with pytest.raises(UserError, match=r"layer 1 of the student has global attention, layer 2 of the teacher local"):
        plan("tinybert", encoder(3, windows=(None, None, None)), MODERN)
    with pytest.raises(UserError, match="student of 13 layers"):
        plan("tinybert", encoder(13, 312))


# MiniLM.


def test_minilm_compares_the_last_layers():
    relations, distil = plan("minilm", encoder(6, 384))
    found = terms(relations)["relation_kl"]
    assert (found.student_layer, found.teacher_layer, found.heads) == (6, 12, None)
    assert found.relations == (("query", "key"), ("value", "value"))
    assert list(terms(distil)) == ["hard_labels", "soft_labels"]
    assert terms(plan("minilm", encoder(6, 384), teacher_layer=10)[0])["relation_kl"].teacher_layer == 10


@pytest.mark.parametrize("name", ["minilm", "minilmv2"])
def test_relations_are_learnt_from_a_corpus_instead(name):
    on_corpus, (relations, distil) = general(name, encoder(6, 384)), plan(name, encoder(6, 384))
    assert on_corpus.objectives == relations.objectives
    assert (relations.without_corpus, distil.without_corpus) == (True, False)
    assert (on_corpus.masking, on_corpus.config.select_on) == (None, "none")


def test_minilm_refuses_what_it_cannot_do():
    for laid_out in (plan, general):
        with pytest.raises(UserError, match=r"6 heads and the teacher 12\n.*12 heads\n.*minilmv2"):
            laid_out("minilm", encoder(6, 384, heads=6))
    for name in ("minilm", "minilmv2"):
        with pytest.raises(UserError, match=r"teacher_layer is 13, but the teacher has 12 layers\n  expected: 1\.\.12"):
            plan(name, encoder(6, 384), teacher_layer=13)
    with pytest.raises(UserError, match="do not attend alike"):
        plan("minilm", encoder(2, windows=(None, None)), MODERN)


@pytest.mark.parametrize(("width", "heads"), [(384, 48), (768, 48), (312, 24), (128, 32)])
def test_relation_heads_divide_both_widths(width, heads):
    # gcd(768, 384) = 384 holds 48; gcd(768, 312) = 24; gcd(768, 128) = 128: its largest divisor up to 48 is 32.
    relations, _ = plan("minilmv2", encoder(6, width))
    found = terms(relations)["relation_kl"]
    assert found.heads == heads
    assert found.relations == (("query", "query"), ("key", "key"), ("value", "value"))


def test_relation_heads_that_divide_not():
    with pytest.raises(UserError, match=r"relation_heads is 48, .* 312 and 768\n  expected: one of 1, 2, 3, 4, 6, 8, 12, 24"):
        plan("minilmv2", encoder(6, 312), relation_heads=48)
    assert terms(plan("minilmv2", encoder(6, 312), relation_heads=12)[0])["relation_kl"].heads == 12
    assert plan("minilmv2", encoder(2, windows=(None, None)), MODERN)


def test_relations_that_weigh_nothing_are_left_out():
    relations = terms(plan("minilmv2", encoder(6, 384), weight_query=0, weight_value=2.5)[0])["relation_kl"]
    assert relations.relations == (("key", "key"), ("value", "value"))
    assert relations.weights == (1.0, 2.5)
    with pytest.raises(UserError, match="leave no relation to learn"):
        plan("minilmv2", encoder(6, 384), weight_query=0, weight_key=0, weight_value=0)


# Theseus.


def test_theseus_replaces_then_tunes():
    replacing, successor = plan("theseus", encoder(6), schedule="constant", base=0.5, compat="official")
    assert list(terms(replacing)) == list(terms(successor)) == ["hard_labels"]
    assert (replacing.side.schedule, replacing.side.base, replacing.side.official) == ("constant", 0.5, True)
    assert replacing.trained == successor.trained == Trained(embeddings=0.0, head=0.0)
    assert plan("theseus", encoder(6), train_head=True)[1].trained == Trained()
    copied = {
        rule: load_method("theseus").model_validate({"copied": rule}) for rule in ("first", "module_first", "module_last")
    }
    assert copied["first"].copied_layers(3, 12) == (1, 2, 3)
    assert copied["module_first"].copied_layers(3, 12) == (1, 5, 9)
    assert copied["module_last"].copied_layers(3, 12) == (4, 8, 12)


def test_theseus_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match=r"12 layers cannot be cut into 5\n  expected: a student of 1, 2, 3, 4, 6, 12 layers"):
        plan("theseus", encoder(5))
    with pytest.raises(UserError, match=r"bert of width 384 and the teacher a bert of width 768"):
        plan("theseus", encoder(6, 384))
    with pytest.raises(UserError, match="share their weights"):
        plan("theseus", encoder(6), encoder(12, is_shared=True))
    with pytest.raises(UserError, match="attend locally and globally in turn"):
        plan("theseus", encoder(3, windows=(None, 64, 64), family="modernbert"), MODERN)
    with pytest.raises(UserError, match=r"method\.base.*less than or equal to 1"):
        plan("theseus", encoder(6), base=1.5)


# On a corpus, as the authors did.

OFFICIAL = {  # of the last stage on a corpus
    "distilbert": {"batch_size": 4000, "learning_rate": 5e-4},
    "tinybert": {"batch_size": 256, "learning_rate": 5e-5},
    "minilm": {"batch_size": 256, "learning_rate": 3e-4, "steps": 400_000, "warmup": 0.01},
    "minilmv2": {"batch_size": 256, "learning_rate": 6e-4, "steps": 400_000, "warmup": 0.01},
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_steps_and_batches_give_way_to_what_is_asked_for(name):
    stage = general(name, encoder(6), compat="official").config
    assert {key: getattr(stage, key) for key in OFFICIAL[name]} == OFFICIAL[name]
    assert stage.batch_size / stage.accumulate == 32
    usual = general(name, encoder(6)).config
    assert (usual.epochs, usual.steps, usual.batch_size, usual.accumulate) == (3, None, 32, 1)
    asked = general(name, encoder(6), compat="official", stages={"general": {"epochs": 2, "batch_size": 8}}).config
    assert (asked.epochs, asked.steps, asked.batch_size) == (2, None, 8)
    assert asked.learning_rate == OFFICIAL[name]["learning_rate"]


# In a comparison.


COMPARED = [
    ("pkd", {}, encoder(1), "leave mine out of --methods"),
    ("pkd", {}, encoder(3, 312), r"--set methods\.mine\.projection=true"),
    ("pkd", {"layer_map": [9, 10, 13]}, encoder(4), r"methods\.mine\.layer_map names teacher layer 13"),
    ("minilm", {"teacher_layer": 13}, encoder(3), r"methods\.mine\.teacher_layer is 13"),
    ("minilmv2", {"relation_heads": 7}, encoder(3), r"methods\.mine\.relation_heads is 7"),
    ("theseus", {"schedule": "constant", "slope": 0.1}, encoder(6), r"methods\.mine\.slope is 0\.1"),
]


@pytest.mark.parametrize(("method", "settings", "student", "said"), COMPARED)
def test_methods_speak_of_their_label(method, settings, student, said):
    with pytest.raises(UserError, match=said) as caught, in_comparison("mine"):
        plan(method, student, **settings)
    assert "method." not in str(caught.value)
    assert "--method " not in str(caught.value)
