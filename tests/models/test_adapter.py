import copy

import pytest
import torch
from tests.features import giving, needing
from tests.models.encoders import EVERY, TASKS, batch, blocks, built
from tests.tiny_models import tiny_config
from transformers import AutoModel

from stillhouse.errors import UserError
from stillhouse.features import LOGITS, Feature
from stillhouse.models.adapter import compute_features, head_count, hidden_size, input_names, layer_count
from stillhouse.models.loading import build_encoder

SHAPES = {"classification": (3, 3), "tagging": (3, 7, 5), "qa": (3, 7, 2)}


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("kind", TASKS)
def test_logits_are_those_of_a_direct_call(family, kind):
    model, inputs = built(family, kind), batch()
    with torch.no_grad():
        logits = compute_features(model, inputs, needing(logits=True))[LOGITS]
        direct = model(**{name: inputs[name] for name in input_names(model)})
    assert logits.shape == SHAPES[kind]
    if kind == "qa":
        assert torch.equal(logits[..., 0], direct.start_logits)
        assert torch.equal(logits[..., 1], direct.end_logits)
    else:
        assert torch.equal(logits, direct.logits)


@pytest.mark.parametrize("family", EVERY)
def test_hidden_state_l_is_the_output_of_layer_l(family):
    model, inputs = built(family), batch()
    seen = []
    hooks = [
        block.register_forward_hook(lambda _module, _args, out: seen.append(out[0] if isinstance(out, tuple) else out))
        for block in blocks(model)
    ]
    hooks.append(blocks(model)[0].register_forward_pre_hook(lambda _module, args: seen.append(args[0]) if not seen else None))
    with torch.no_grad():
        features = compute_features(model, inputs, needing(hidden_states=(0, 1, 2, 3)))
        states = {feature.layer: state for feature, state in features.tensors.items()}
        if family == "modernbert":
            seen[3] = model.model.final_norm(seen[3])
    for hook in hooks:
        hook.remove()
    assert len(seen) == 4
    assert all(torch.equal(states[layer], seen[layer]) for layer in range(4))
    assert not torch.equal(states[1], states[2])


@pytest.mark.parametrize("family", EVERY)
def test_only_wanted_layers_are_kept(family):
    model, inputs = built(family), batch()
    features = compute_features(model, inputs, needing(hidden_states=frozenset({2})))
    assert list(features.tensors) == [Feature("hidden_state", 2)]
    # What the model itself handed over: None in the slots that were not asked for.
    handed = {}
    model.base_model.register_forward_hook(lambda _module, _args, out: handed.update(out), always_call=True)
    compute_features(model, inputs, needing(logits=True, hidden_states=frozenset({0, 3})))
    assert [state is not None for state in handed["hidden_states"]] == [True, False, False, True]
    handed.clear()
    compute_features(model, inputs, needing(logits=True))
    assert handed.get("hidden_states") is None


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("layer", [-1, 4])
def test_a_layer_that_does_not_exist_is_an_error(family, layer):
    with pytest.raises(UserError, match=rf"hidden state {layer} .* 3 layers\n  expected: 0\.\.3"):
        compute_features(built(family), batch(), needing(hidden_states=frozenset({1, layer})))


@pytest.mark.parametrize("family", EVERY)
def test_more_padding_changes_nothing(family):
    model, inputs = built(family), batch()
    padded = {name: torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in inputs.items()}
    needs = needing(logits=True, hidden_states=frozenset({3}))
    with torch.no_grad():
        one, two = compute_features(model, inputs, needs), compute_features(model, padded, needs)
    assert torch.allclose(one[LOGITS], two[LOGITS], atol=1e-5)
    real = inputs["attention_mask"].bool()
    # Float rounding of sums over another number of keys.
    assert torch.allclose(one[Feature("hidden_state", 3)][real], two[Feature("hidden_state", 3)][:, :7][real], atol=1e-5)


@pytest.mark.parametrize("family", EVERY)
def test_works_in_bf16_and_inference_mode(family):
    model, inputs = built(family), batch()
    needs = needing(logits=True, hidden_states=frozenset({1}))
    exact = compute_features(model, inputs, needs)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        features = compute_features(model, inputs, needs)
    assert features[LOGITS].is_inference()
    assert features[LOGITS].dtype == torch.bfloat16
    scale = exact[LOGITS].abs().max()
    assert (features[LOGITS].float() - exact[LOGITS]).abs().max() < 0.1 * scale  # 8 bits of mantissa


@pytest.mark.parametrize("family", EVERY)
def test_gradient_reaches_what_the_features_depend_on(family):
    model = built(family)
    compute_features(model, batch(), needing(hidden_states=frozenset({1})))[Feature("hidden_state", 1)].sum().backward()
    first, last = blocks(model)[0], blocks(model)[-1]
    assert any(parameter.grad is not None for parameter in first.parameters())
    if last is not first:
        assert all(parameter.grad is None for parameter in last.parameters())


SHALLOW = [
    needing(hidden_states=frozenset({0, 1})),
    needing(cls=frozenset({2})),
    needing(hidden_states=frozenset({2}), attentions=frozenset({1}), parts=frozenset({"query", "key"})),
    needing(hidden_states=frozenset({0}), attentions=frozenset({2}), parts=frozenset({"value"})),
]


@pytest.mark.parametrize("needs", SHALLOW)
@pytest.mark.parametrize("family", EVERY)
def test_a_pass_without_gradient_ends_with_the_last_layer_that_is_read(family, needs):
    model, inputs = built(family).eval(), batch()
    whole = compute_features(model, inputs, needs)
    last = blocks(model)[-1]
    reached = []
    last.register_forward_hook(lambda *_: reached.append(True))
    with torch.no_grad():
        shallow = compute_features(model, inputs, needs)
    assert bool(reached) is (family == "albert")  # one layer, called three times
    one, other = tensors(shallow), tensors(whole)
    assert len(one) == len(needs)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


def tensors(features):
    seen = []
    features.changed(lambda tensor: seen.append(tensor) or tensor)
    return seen


@pytest.mark.parametrize("family", EVERY)
def test_segments_go_only_to_models_that_tell_them_apart(family):
    model, inputs = built(family), batch()
    has_segments = family in ("bert", "electra", "albert", "mobilebert")
    assert input_names(model) == (
        ("input_ids", "attention_mask", "token_type_ids") if has_segments else ("input_ids", "attention_mask")
    )
    other = inputs | {"token_type_ids": 1 - inputs["token_type_ids"]}
    with torch.no_grad():
        one = compute_features(model, inputs, needing(logits=True))[LOGITS]
        two = compute_features(model, other, needing(logits=True))[LOGITS]
    assert torch.equal(one, two) is not has_segments


@pytest.mark.parametrize("family", EVERY)
def test_sizes(family):
    config = built(family, hidden=28).config
    assert (layer_count(config), hidden_size(config), head_count(config)) == (3, 28, 2)


def test_albert_with_inner_layers_counts_whole_layers():
    model, inputs = built("albert", inner_group_num=2), batch()
    outputs = []
    group = model.albert.encoder.albert_layer_groups[0]
    group.register_forward_hook(lambda _module, _args, out: outputs.append(out))
    with torch.no_grad():
        features = compute_features(model, inputs, needing(hidden_states=(1, 3)))
    states = {feature.layer: state for feature, state in features.tensors.items()}
    assert sorted(states) == [1, 3]
    assert torch.equal(states[1], outputs[0])
    assert torch.equal(states[3], outputs[2])


def test_a_config_that_asks_for_hidden_states_is_not_obeyed():
    config = copy.deepcopy(tiny_config("bert", layers=1))
    config.output_hidden_states = True
    model = build_encoder(config, TASKS["classification"].head)
    assert list(compute_features(model, batch(), needing(logits=True)).tensors) == [LOGITS]


def test_nothing_needed_costs_no_forward_pass():
    model = built("bert")
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    assert compute_features(model, batch(), needing()) == giving()


def test_logits_of_a_model_without_head_are_a_bug():
    model = AutoModel.from_config(tiny_config("bert", layers=1))
    with pytest.raises(RuntimeError, match="no task head"):
        compute_features(model, batch(), needing(logits=True))
