"""Queries, keys and values of every family: what attention really works with, while attention stays on SDPA."""

import copy

import pytest
import torch
from tests.features import attended, attended_layers, needing
from tests.models.encoders import EVERY, TASKS, batch, blocks, built
from tests.tiny_models import tiny_config
from transformers import AttentionMaskInterface

from stillhouse.errors import UserError
from stillhouse.features import LOGITS, ONLY_LOGITS, Feature
from stillhouse.models import capture
from stillhouse.models.adapter import compute_features, layer_count
from stillhouse.models.capture import attend_in_blocks, short_texts_in_blocks
from stillhouse.models.loading import build_encoder
from stillhouse.speed.attention import block_attention

ALL = needing(attentions=frozenset({1, 2, 3}))


def eager_maps(model, inputs):
    """Attention maps of transformers' own slow implementation, one a layer."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("eager")
    given = {name: inputs[name] for name in inputs if name != "token_type_ids" or model.config.model_type in SEGMENTED}
    return twin(**given, output_attentions=True).attentions


SEGMENTED = ("bert", "electra", "albert", "mobilebert")


def allowed(inputs, attention):
    """Which key each query may look at, `(batch, 1, tokens, tokens)`, from the mask and the window alone."""
    mask = inputs["attention_mask"].bool()
    pairs = mask[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
    if attention.window is None:
        return pairs
    position = torch.arange(mask.shape[1])
    return pairs & ((position[:, None] - position).abs() <= attention.window)


@pytest.mark.parametrize("family", EVERY)
def test_maps_are_those_of_eager_attention(family):
    model, inputs = built(family).eval(), batch(tokens=11)
    with torch.no_grad():
        expected = eager_maps(model, inputs)
        attentions = attended_layers(compute_features(model, inputs, ALL))
    assert model.config._attn_implementation == capture.IMPLEMENTATION
    assert sorted(attentions) == [1, 2, 3]
    real = inputs["attention_mask"].bool()
    for layer, attention in attentions.items():
        scores = attention.scores().masked_fill(~allowed(inputs, attention), float("-inf"))
        maps = scores.softmax(dim=-1).transpose(1, 2)[real]
        assert torch.allclose(maps, expected[layer - 1].transpose(1, 2)[real], atol=1e-5)
    assert not torch.allclose(attentions[1].value, attentions[2].value)


@pytest.mark.parametrize("shared", [False, True])
def test_both_kinds_of_mobilebert(shared):
    """Values come from the layer's input, keys and queries from it or from its bottleneck."""
    model, inputs = built("mobilebert", use_bottleneck_attention=shared).eval(), batch(tokens=11)
    with torch.no_grad():
        expected = eager_maps(model, inputs)
        attentions = attended_layers(compute_features(model, inputs, ALL))
    real = inputs["attention_mask"].bool()
    for layer, attention in attentions.items():
        maps = attention.scores().masked_fill(~allowed(inputs, attention), float("-inf")).softmax(dim=-1)
        assert torch.allclose(maps.transpose(1, 2)[real], expected[layer - 1].transpose(1, 2)[real], atol=1e-5)


@pytest.mark.parametrize("family", EVERY)
def test_recording_changes_no_output(family):
    model, inputs = built(family).eval(), batch()
    with torch.no_grad():
        before = compute_features(model, inputs, ONLY_LOGITS)[LOGITS]
        with_capture = compute_features(model, inputs, ONLY_LOGITS | ALL)[LOGITS]
        after = compute_features(model, inputs, ONLY_LOGITS)[LOGITS]
    assert torch.equal(before, with_capture)
    assert torch.equal(before, after)


@pytest.mark.parametrize("family", EVERY)
def test_short_texts_in_blocks_give_the_same_features(family, monkeypatch):
    model, inputs, seen = built(family).eval(), batch(), []
    monkeypatch.setattr(capture, "block_attention", lambda *given: seen.append(given) or block_attention(*given))
    attend_in_blocks(model)
    with torch.no_grad():
        expected = compute_features(model, inputs, ONLY_LOGITS | ALL)
        assert not seen
        with short_texts_in_blocks():
            found = compute_features(model, inputs, ONLY_LOGITS | ALL)
            assert seen
            compute_features(model, {name: value[:1] for name, value in inputs.items()}, ONLY_LOGITS)  # one text
            long = len(seen)
        compute_features(model, inputs, ONLY_LOGITS)
    assert long == len(seen) == layer_count(model.config)
    assert torch.allclose(found[LOGITS], expected[LOGITS], atol=1e-5)
    real = inputs["attention_mask"].bool()
    for layer, attention in attended_layers(found).items():
        own, theirs = (one.value.transpose(1, 2)[real] for one in (attention, attended(expected, layer)))
        assert torch.allclose(own, theirs, atol=1e-5)


@pytest.mark.parametrize("family", EVERY)
def test_only_wanted_layers_are_kept(family):
    features = compute_features(built(family), batch(), needing(attentions=frozenset({2}), cls=frozenset({1})))
    assert list(features.attention) == [2]
    assert LOGITS not in features.tensors
    assert features[Feature("cls", 1)].shape == (3, 24)


def test_cls_is_the_first_token():
    model = built("bert").eval()
    features = compute_features(model, batch(), needing(hidden_states=frozenset({2}), cls=frozenset({2})))
    assert torch.equal(features[Feature("cls", 2)], features[Feature("hidden_state", 2)][:, 0])


def test_the_local_layers_of_modernbert_say_so():
    attentions = compute_features(built("modernbert"), batch(), ALL).attention
    types = tiny_config("modernbert", layers=3).layer_types
    assert [attentions[layer].window for layer in (1, 2, 3)] == [4 if "sliding" in kind else None for kind in types]


def test_inner_layers_of_albert_are_one_layer():
    model, inputs = built("albert", inner_group_num=2).eval(), batch()
    with torch.no_grad():
        maps = eager_maps(model, inputs)
        attention = attended(compute_features(model, inputs, needing(attentions=frozenset({2}))), 2)
    scores = attention.scores().masked_fill(~allowed(inputs, attention), float("-inf"))
    flat = [one for layer in maps for one in (layer if isinstance(layer, tuple) else (layer,))]
    real = inputs["attention_mask"].bool()
    assert torch.allclose(scores.softmax(dim=-1).transpose(1, 2)[real], flat[3].transpose(1, 2)[real], atol=1e-5)


@pytest.mark.parametrize("family", EVERY)
def test_gradient_goes_through_what_was_recorded(family):
    model, inputs = built(family).train(), batch()
    attention = attended(compute_features(model, inputs, needing(attentions=frozenset({2}))), 2)
    (attention.query.sum() + attention.key.sum() + attention.value.sum()).backward()
    first, last = blocks(model)[0], blocks(model)[-1]
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in first.parameters())
    if last is not first:
        assert all(parameter.grad is None for parameter in last.parameters())


@pytest.mark.parametrize("family", EVERY)
def test_bf16_and_inference_mode(family):
    model, inputs = built(family).eval(), batch()
    exact = attended(compute_features(model, inputs, ALL), 1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        features = compute_features(model, inputs, ALL)
    attention = attended(features, 1)
    assert attention.query.dtype == torch.bfloat16
    assert attention.query.is_inference()
    scores = attention.scores()
    assert scores.dtype == torch.float32
    scale = exact.scores().abs().max()
    assert (scores - exact.scores()).abs().max() < 0.05 * scale  # 8 bits of mantissa, a sum of 12 products
    # Recomputed outside, they may meet a student's in a loss.
    student = torch.zeros_like(scores, requires_grad=True)
    (student - scores).square().mean().backward()
    assert student.grad is not None


@pytest.mark.parametrize("family", [family for family in EVERY if family != "albert"])  # has no checkpointing
def test_checkpointing_gives_the_same_gradient_and_records_once(family):
    plain, inputs = built(family).train(), batch()
    for module in plain.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    other = copy.deepcopy(plain)
    other.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    for model in (plain, other):
        attention = attended(compute_features(model, inputs, needing(attentions=frozenset({3}))), 3)
        attention.scores().square().mean().backward()
    for (name, one), (_, two) in zip(plain.named_parameters(), other.named_parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        assert one.grad is None or torch.allclose(one.grad, two.grad, atol=1e-6), name


def test_reentrant_checkpointing_is_refused():
    model = built("bert").train()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(RuntimeError, match=r"Q, K and V of .* no gradient: .* use_reentrant=False"):
        compute_features(model, batch(), needing(attentions=frozenset({2})))


def test_a_missing_mask_function_is_an_error(monkeypatch):
    model = built("bert")
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, capture.IMPLEMENTATION)
    with pytest.raises(RuntimeError, match="attends to padding"):
        compute_features(model, batch(), ALL)


def test_an_attention_that_cannot_be_recorded_is_an_error(monkeypatch):
    model = built("bert")
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", classmethod(lambda _cls: False))
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        compute_features(model, batch(), ALL)


@pytest.mark.parametrize("family", EVERY)
def test_the_pass_ends_with_the_last_that_is_wanted(family, monkeypatch):
    """And a pass from which more is wanted does not."""
    calls = []
    attend = capture.sdpa_attention_forward
    monkeypatch.setattr(capture, "sdpa_attention_forward", lambda *args, **more: calls.append(1) or attend(*args, **more))
    model, inputs = built(family).eval(), batch()
    whole = compute_features(model, inputs, ALL | ONLY_LOGITS)
    per_layer = len(calls) // 3
    calls.clear()
    found = compute_features(model, inputs, needing(attentions=frozenset({2})))
    assert len(calls) == 2 * per_layer - 1
    assert torch.equal(attended(found, 2).query, attended(whole, 2).query)
    calls.clear()
    compute_features(model, inputs, needing(attentions=frozenset({1}), hidden_states=frozenset({1})))
    assert len(calls) == 3 * per_layer


def test_an_empty_capture_is_an_error():
    model = built("bert")
    model.bert.encoder.layer = model.bert.encoder.layer[:1]
    with pytest.raises(RuntimeError, match=r"attended 1 times instead of 3, so that Q, K and V of \[3\]"):
        compute_features(model, batch(), needing(attentions=frozenset({3})))


@pytest.mark.parametrize("layer", [0, 4])
def test_a_layer_that_does_not_exist_is_an_error(layer):
    with pytest.raises(UserError, match=rf"Q, K and V of layer {layer} .* 3 layers\n  expected: 1\.\.3"):
        compute_features(built("bert"), batch(), needing(attentions=frozenset({1, layer})))


def test_a_saved_model_knows_nothing_of_it(tmp_path):
    model = built("bert")
    compute_features(model, batch(), ALL)
    model.save_pretrained(tmp_path)
    assert "stillhouse" not in (tmp_path / "config.json").read_text()
    again = build_encoder(tiny_config("bert", layers=3), TASKS["classification"].head)
    assert again.config._attn_implementation == "sdpa"
