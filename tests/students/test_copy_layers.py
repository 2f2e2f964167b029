import pytest
import torch
from tests.features import needing
from tests.tiny_models import FAMILIES, tiny_config

from stillhouse.errors import UserError
from stillhouse.models.adapter import compute_features
from stillhouse.models.loading import build_encoder
from stillhouse.models.spec import Shape
from stillhouse.students.copy_layers import copy_layers
from stillhouse.students.shape import student_config
from stillhouse.task import MASKED_LM, Task, load_kind

TASK = Task("t", load_kind("classification"), labels=("a", "b", "c"))
INPUTS = {
    "input_ids": torch.tensor([[2, 37, 59, 61, 3], [2, 41, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "token_type_ids": torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]),
}


def teacher_of(family, task=TASK, **options):
    torch.manual_seed(0)
    return build_encoder(tiny_config(family, **options), task.head)


def student_of(teacher, layers, task=TASK):
    torch.manual_seed(1)
    return build_encoder(student_config(teacher.config, Shape(len(layers), 24), layers), task.head)


def states(model, *layers):
    with torch.no_grad():
        features = compute_features(model, INPUTS, needing(hidden_states=layers))
        return {feature.layer: state for feature, state in features.tensors.items()}


@pytest.mark.parametrize("family", [*FAMILIES, "mobilebert"])
def test_all_layers_copied_give_the_teachers_hidden_states_and_another_head(family):
    teacher = teacher_of(family)
    student = student_of(teacher, (1, 2, 3, 4))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    start = copy_layers(student, teacher, (1, 2, 3, 4), teacher_name="T")
    own, theirs = states(student, 0, 2, 4), states(teacher, 0, 2, 4)
    assert all(torch.equal(own[layer], theirs[layer]) for layer in own)
    assert start.skipped == ()
    prefix = f"{student.base_model_prefix}."
    heads = [name for name in student.state_dict() if not name.startswith(prefix)]
    assert sorted(start.fresh) == sorted(heads)
    matrices = [name for name in heads if student.state_dict()[name].ndim == 2]
    assert matrices
    assert not any(torch.equal(student.state_dict()[name], before[name]) for name in matrices)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_layers_give_the_teachers_first_hidden_states(family):
    teacher = teacher_of(family)
    student = student_of(teacher, (1, 2))
    start = copy_layers(student, teacher, (1, 2), teacher_name="T")
    own, theirs = states(student, 0, 1, 2), states(teacher, 0, 1, 2)
    # ModernBERT's last hidden state is after its final normalisation.
    compared = (0, 1) if family == "modernbert" else (0, 1, 2)
    assert all(torch.equal(own[layer], theirs[layer]) for layer in compared)
    assert start.description == ("the shared layer of T, 2 times" if family == "albert" else "layers 1, 2 of T")


@pytest.mark.parametrize(
    ("family", "stack"),
    [
        ("bert", "bert.encoder.layer"),
        ("roberta", "roberta.encoder.layer"),
        ("xlm-roberta", "roberta.encoder.layer"),
        ("distilbert", "distilbert.transformer.layer"),
        ("electra", "electra.encoder.layer"),
        ("modernbert", "model.layers"),
        ("mobilebert", "mobilebert.encoder.layer"),
    ],
)
def test_layer_i_comes_from_the_layer_that_is_named(family, stack):
    teacher = teacher_of(family)
    student = student_of(teacher, (2, 4))
    start = copy_layers(student, teacher, (2, 4))
    own, theirs = student.state_dict(), teacher.state_dict()
    for block, layer in enumerate((2, 4)):
        names = [name for name in own if name.startswith(f"{stack}.{block}.")]
        assert len(names) > 3
        for name in names:
            assert torch.equal(own[name], theirs[name.replace(f"{stack}.{block}.", f"{stack}.{layer - 1}.")])
            assert name in start.copied
    assert len(start.copied) + len(start.fresh) == len(own)


def test_modernberts_first_layer_has_no_place_for_a_normalisation():
    teacher = teacher_of("modernbert")
    student = student_of(teacher, (2, 4))
    start = copy_layers(student, teacher, (2, 4))
    assert start.skipped == ("model.layers.1.attn_norm.weight",)
    assert [layer.attention_type for layer in student.model.layers] == ["sliding_attention", "full_attention"]
    # The other way round: the teacher's first layer lacks what the student's second has.
    start = copy_layers(student_of(teacher, (1, 1)), teacher, (1, 1))
    assert start.skipped == ()
    assert "model.layers.1.attn_norm.weight" in start.fresh


def test_albert_groups():
    teacher = teacher_of("albert", num_hidden_groups=2)
    student = student_of(teacher, (2, 4))
    start = copy_layers(student, teacher, (2, 4), teacher_name="T")
    assert start.description == "layers 2, 4 of T"
    own, theirs = states(student, 0), states(teacher, 0)
    assert torch.equal(own[0], theirs[0])
    for group in (0, 1):
        name = f"albert.encoder.albert_layer_groups.{group}.albert_layers.0.ffn.weight"
        assert torch.equal(student.state_dict()[name], teacher.state_dict()[name])
    # One student layer: one group, that of the teacher layer that is named.
    single = student_of(teacher, (4,))
    copy_layers(single, teacher, (4,))
    name = "albert.encoder.albert_layer_groups.{}.albert_layers.0.ffn.weight"
    assert torch.equal(single.state_dict()[name.format(0)], teacher.state_dict()[name.format(1)])


def test_tensors_are_counted():
    # A layer of BERT has 16 tensors (8 linear or norm modules, each weight and bias); embeddings 5, pooler 2, head 2.
    teacher = teacher_of("bert")
    student = student_of(teacher, (2, 4))
    sentence = copy_layers(student, teacher, (2, 4)).sentence()
    assert sentence == "39 tensors copied, 0 skipped, 2 fresh (classifier.weight, classifier.bias)"


@pytest.mark.parametrize("family", [*FAMILIES, "mobilebert"])
def test_of_a_masked_lm_head_the_bias_is_copied_and_the_rest_is_fresh(family):
    torch.manual_seed(0)
    teacher = build_encoder(tiny_config(family), MASKED_LM)
    torch.nn.init.normal_(teacher.get_output_embeddings().bias)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = build_encoder(student_config(teacher.config, Shape(2, 24), (2, 4)), MASKED_LM)
    start = copy_layers(student, teacher, (2, 4))
    own, decoder = student.state_dict(), student.get_output_embeddings()
    assert torch.equal(decoder.bias, teacher.get_output_embeddings().bias)
    decoders = [
        name for name, tensor in own.items() if tensor.data_ptr() in (decoder.bias.data_ptr(), decoder.weight.data_ptr())
    ]
    assert len(decoders) >= 3  # the weight is the table of the embeddings under another name
    assert set(decoders) <= set(start.copied)
    matrices = [name for name in start.fresh if own[name].ndim == 2]
    assert matrices
    assert not any(torch.equal(own[name], before[name]) for name in matrices)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_no_bias_is_copied_where_one_model_has_no_masked_lm_head():
    teacher, student = build_encoder(tiny_config("bert"), MASKED_LM), student_of(teacher_of("bert"), (2, 4))
    assert "classifier.bias" in copy_layers(student, teacher, (2, 4)).fresh
    student = build_encoder(student_config(teacher.config, Shape(2, 24), (2, 4)), MASKED_LM)
    assert "cls.predictions.bias" in copy_layers(student, teacher_of("bert"), (2, 4)).fresh


def test_a_teacher_without_pooler_leaves_the_students_fresh():
    teacher = teacher_of("bert", Task("t", load_kind("tagging"), labels=("O", "B-A")))
    student = student_of(teacher, (2, 4))
    start = copy_layers(student, teacher, (2, 4))
    assert set(start.fresh) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert copy_layers(teacher, student, (1, 2, 2, 1)).skipped == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")


def test_other_widths_copy_nothing():
    teacher = teacher_of("bert")
    student = build_encoder(student_config(teacher.config, Shape(3, 12)), TASK.head)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    start = copy_layers(student, teacher, (1, 2, 3))
    assert start.description == "fresh weights, 3 layers x 12"
    assert start.sentence() == f"0 tensors copied, 0 skipped, {len(before)} fresh"
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_wrong_layers_are_refused():
    teacher = teacher_of("bert")
    student = student_of(teacher, (2, 4))
    with pytest.raises(UserError, match=r"teacher layer 5 .* has 4 layers\n  expected: layers 1\.\.4"):
        copy_layers(student, teacher, (2, 5))
    with pytest.raises(UserError, match="teacher layer 0"):
        copy_layers(student, teacher, (0, 4))
    with pytest.raises(UserError, match="3 teacher layers are named for a student of 2 layers"):
        copy_layers(student, teacher, (1, 2, 3))


def test_families_do_not_mix():
    with pytest.raises(UserError, match="electra student cannot copy layers of a bert teacher"):
        copy_layers(teacher_of("electra"), teacher_of("bert"), (1, 2, 3, 4))
