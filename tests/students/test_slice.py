"""A narrower student that starts as a slice of its teacher."""

import weakref

import pytest
import torch
from tests.features import needing
from tests.tiny_models import FAMILIES, tiny_config
from torch import nn
from transformers import CONFIG_MAPPING

from stillhouse.data.batch import Inputs
from stillhouse.errors import UserError
from stillhouse.layer_maps import first, uniform
from stillhouse.models.adapter import compute_features, named_stack, stack_name
from stillhouse.models.loading import build_encoder
from stillhouse.students import moments
from stillhouse.students.build import build_student
from stillhouse.students.slice import check_sliceable
from stillhouse.task import MASKED_LM, Task, load_kind

TASK = Task("t", load_kind("classification"), labels=("a", "b", "c"))
SLICEABLE = [family for family in FAMILIES if family != "modernbert"]
HEADS = 2
IDS = torch.randint(5, 90, (400, 12), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[::3, 7:] = 0
TEXT = [Inputs(IDS, MASK, torch.zeros_like(IDS))]


def encoder(family, hidden, **changes):
    torch.manual_seed(0)
    if family in ("electra", "albert"):
        changes |= {"embedding_size": 6}
    return build_encoder(tiny_config(family, hidden=hidden, heads=HEADS, **changes), TASK.head)


def built(spec, teacher, rule=first, text=TEXT, start="slice"):
    torch.manual_seed(1)
    read = None if text is None else lambda: text
    names = {"teacher_checkpoint_name": "T", "head": TASK.head}
    return build_student(spec, teacher=teacher, layers_rule=rule, start=start, text=read, **names)


def states(model, *layers, ids=IDS, mask=MASK):
    with torch.no_grad():
        found = compute_features(model.eval(), {"input_ids": ids, "attention_mask": mask}, needing(hidden_states=layers))
    return torch.stack([found.tensors[feature][mask.bool()] for feature in sorted(found.tensors)])


def doubled(tensor, axis, share=None, parts=1):
    """Every dimension twice, within each of equal parts; what reads them takes a share from the first and the rest from the
    second, so that it reads the same."""
    factors = (1, 1) if share is None else (share, 1 - share)
    pieces = tensor.chunk(parts, axis)
    return torch.cat([factor * piece for piece in pieces for factor in factors], axis)


def twice_as_wide(small, family, share):
    """A teacher of twice the width that computes, twice, what a small model does: its scores are scaled for heads as wide."""
    wide = encoder(family, 24)
    stack = stack_name(small)
    roles = {}
    for number, block in enumerate(named_stack(small, stack)):
        names = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
        roles |= {f"{stack}.{number}.{name}": role for role, name in zip("qkvoud", names, strict=True)}
    weights = small.base_model.state_dict()
    for name, target in wide.base_model.state_dict().items():
        tensor = weights[name]
        role = roles.get(name.rpartition(".")[0])
        parts = HEADS if role in ("q", "k", "v") else 1
        if role == "q":
            tensor = tensor * 2**0.5  # a wide head's scores are divided by the root of 12, not of 6
        if target.ndim == 2 and target.shape[1] != tensor.shape[1]:
            reads = role is not None or "pooler" in name or "project" in name
            tensor = doubled(tensor, 1, share if reads else None, HEADS if role == "o" else 1)
        if target.shape[0] != tensor.shape[0]:
            tensor = doubled(tensor, 0, share if role == "q" else None, parts)
        target.copy_(tensor)
    return wide


@pytest.mark.parametrize(("share", "near"), [(0.0, 1e-5), (0.01, 3e-3)])
@pytest.mark.parametrize("family", SLICEABLE)
def test_what_nobody_reads_and_what_is_there_twice_can_go(family, share, near):
    """Either way the student computes what its teacher does: the second of each pair of dimensions.

    What is read twice is guessed a little too small, for the tokens are few; left out it would be wrong by 0.04 and more.
    """
    small = encoder(family, 12)
    teacher = twice_as_wide(small, family, share)
    theirs = states(teacher, 0, 1, 2)
    assert torch.allclose(theirs[..., 12:], states(small, 0, 1, 2), atol=1e-5)
    student, start = built("2x12", teacher)
    assert torch.allclose(states(student, 0, 1, 2), theirs[..., 12:], atol=near)
    assert start.description.endswith("(12 of 24 dimensions)")
    unseen = torch.randint(5, 90, (3, 9), generator=torch.Generator().manual_seed(5))
    other = {"ids": unseen, "mask": torch.ones_like(unseen)}
    assert torch.allclose(states(student, 2, **other), states(small, 2, **other), atol=near)
    plain, start = built("2x12", teacher, text=None)
    assert start.description.endswith("(the first 12 of 24 dimensions)")
    if share == 0:
        assert not torch.allclose(states(plain, 1, 2), theirs[1:, :, :12], atol=0.1)


def test_the_first_dimensions_of_everything():
    teacher = encoder("bert", 24)
    student, _ = built("2x16", teacher, rule=uniform, text=None)
    own, theirs = student.bert.encoder.layer[1], teacher.bert.encoder.layer[3]
    in_heads = [*range(8), *range(12, 20)]
    self, it = own.attention.self, theirs.attention.self
    assert torch.equal(self.key.weight, it.key.weight[in_heads, :16])
    assert torch.allclose(self.query.weight, it.query.weight[in_heads, :16] * (8 / 12) ** 0.5)
    assert torch.equal(self.value.bias, it.value.bias[in_heads])
    assert torch.equal(own.attention.output.dense.weight, theirs.attention.output.dense.weight[:16, in_heads])
    assert torch.equal(own.intermediate.dense.weight, theirs.intermediate.dense.weight[:64, :16])
    assert torch.equal(own.output.dense.weight, theirs.output.dense.weight[:16, :64])
    assert torch.equal(own.output.LayerNorm.weight, theirs.output.LayerNorm.weight[:16])
    table = teacher.bert.embeddings.word_embeddings.weight
    assert torch.equal(student.bert.embeddings.word_embeddings.weight, table[:, :16])
    assert torch.equal(student.bert.pooler.dense.weight, teacher.bert.pooler.dense.weight[:16, :16])


@pytest.mark.parametrize("family", SLICEABLE)
def test_where_every_weight_comes_from(family):
    teacher = encoder(family, 24)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    best, start = built("4x20", teacher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    encoder_names = {name for name in best.state_dict() if name.startswith(f"{best.base_model_prefix}.")}
    assert set(start.copied) == encoder_names
    assert set(start.fresh) == best.state_dict().keys() - encoder_names
    shared = "slice of the shared layer of T, 4 times (20 of 24 dimensions)"
    assert start.description == (shared if family == "albert" else "slice of layers 1, 2, 3, 4 of T (20 of 24 dimensions)")


def test_a_slice_is_the_same_again_and_draws_nothing():
    teacher = encoder("bert", 24)
    one, other = (built("2x16", teacher)[0].state_dict() for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    fresh, start = built("2x16", teacher, start="fresh")
    assert torch.equal(one["classifier.weight"], fresh.classifier.weight)
    assert start.description == "fresh weights, 2 layers x 16"
    assert built("2x24", teacher, start="fresh")[1].is_fresh


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_order_in_which_is_summed_changes_no_bit(family):
    """Which is another with another number of threads; here rows of the text come in another order."""
    teacher = encoder(family, 24)
    order = torch.randperm(len(IDS), generator=torch.Generator().manual_seed(1))
    one = built("2x16", teacher)[0].state_dict()
    other = built("2x16", teacher, text=[Inputs(IDS[order], MASK[order], torch.zeros_like(IDS))])[0].state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_products_of_one_layer_are_held_at_once(monkeypatch):
    """They take a hundred megabytes a layer."""
    held, most, real = weakref.WeakSet(), [], moments.Moments.add

    def add(self, vectors):
        real(self, vectors)
        held.add(self)
        most.append(sum(torch.is_tensor(one.products) for one in held))

    monkeypatch.setattr(moments.Moments, "__hash__", object.__hash__)
    monkeypatch.setattr(moments.Moments, "add", add)
    built("4x16", encoder("bert", 24))
    assert max(most) == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_teacher_that_has_taught_on_a_gpu():
    teacher = encoder("bert", 24)
    near = built("2x16", teacher)[0].state_dict()
    far = built("2x16", teacher.cuda())[0].state_dict()
    assert all(torch.allclose(tensor, far[name], atol=1e-3) for name, tensor in near.items())


def test_of_the_teachers_width_it_is_a_copy_and_says_so():
    teacher = encoder("bert", 24)
    student, start = built("2x24", teacher)
    copied, _ = built("2x24", teacher, start="pretrained")
    assert all(torch.equal(tensor, copied.state_dict()[name]) for name, tensor in student.state_dict().items())
    assert start.description == "layers 1, 2 of T"
    assert start.sentence().endswith("; its width is the teacher's: a slice leaves nothing out")


def test_neurons_are_no_more_than_the_teachers():
    teacher = encoder("bert", 24, intermediate_size=40)
    assert built("2x16", teacher)[0].config.intermediate_size == 40
    assert built("2x16", teacher, start="fresh")[0].config.intermediate_size == 64


@pytest.mark.parametrize(("spec", "larger"), [("2x28", "2x28"), ("5x16", "5x16")])
def test_what_is_larger_than_its_teacher_is_refused(spec, larger):
    with pytest.raises(UserError, match=f"the student, {larger}, is larger than its teacher, 4x24"):
        built(spec, encoder("bert", 24))


@pytest.mark.parametrize("family", ["roformer", "modernbert", "fnet"])
def test_families_whose_parts_are_not_known_are_refused(family):
    """RoFormer turns pairs of a head's dimensions by positions, ModernBERT's parts are fused, FNet attends to nothing."""
    config = CONFIG_MAPPING[family](vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    with pytest.raises(UserError, match=rf"which parts the layers of {family} models have(?s:.*)student.start=fresh"):
        check_sliceable(config, config)


@pytest.mark.parametrize("family", [*SLICEABLE, "camembert", "mpnet"])
def test_families_whose_parts_are_known(family):
    config = CONFIG_MAPPING[family](vocab_size=100)
    check_sliceable(config, config)


def test_embeddings_that_are_widened_need_a_student_that_widens_them():
    torch.manual_seed(0)
    teacher = build_encoder(tiny_config("electra"), TASK.head)  # embeddings of 12, layers of 24
    student, _ = built("2x16", teacher)
    assert student.electra.embeddings_project.weight.shape == (16, 12)
    with pytest.raises(UserError, match=r"a student of width 12 has no embeddings_project\.bias"):
        built("2x12", teacher)


def test_a_slice_has_the_bias_of_its_teachers_masked_lm_head():
    torch.manual_seed(0)
    teacher = build_encoder(tiny_config("bert", hidden=24, heads=HEADS), MASKED_LM)
    torch.nn.init.normal_(teacher.get_output_embeddings().bias)
    options = {"teacher_checkpoint_name": "T", "head": MASKED_LM, "layers_rule": first}
    sliced, start = build_student("2x12", teacher=teacher, start="slice", **options)
    fresh, _ = build_student("2x12", teacher=teacher, **options)
    bias = teacher.get_output_embeddings().bias
    assert torch.equal(sliced.get_output_embeddings().bias, bias)
    assert {"cls.predictions.bias", "cls.predictions.decoder.weight"} <= set(start.copied)
    assert not fresh.get_output_embeddings().bias.any()
