"""Scores over the vocabulary of every family, as they are multiplied out by transformers."""

import pytest
import torch
from tests.features import needing
from tests.masked_text import masked_encoder
from tests.models.encoders import EVERY, batch, built

from stillhouse.features import LOGITS, ONLY_LOGITS, ONLY_VOCABULARY, Feature
from stillhouse.models.adapter import compute_features, input_names
from stillhouse.speed.vocabulary import scores_of

every = pytest.mark.parametrize("family", EVERY)


def direct(model, inputs):
    return model(**{name: inputs[name] for name in input_names(model)}).logits


def multiplied(features):
    scores = features.vocabulary
    rows = scores_of(scores.states.flatten(0, 1), scores.table, scores.bias)
    return rows.unflatten(0, scores.states.shape[:2])


@every
@pytest.mark.parametrize("tied", [True, False])
def test_multiplied_out_they_are_the_models_logits(family, tied):
    model, inputs = masked_encoder(family, layers=3, tie_word_embeddings=tied), batch()
    table = model.get_output_embeddings().weight
    assert (table is model.get_input_embeddings().weight) == tied
    with torch.no_grad():
        features, logits = compute_features(model, inputs, ONLY_VOCABULARY), direct(model, inputs)
    assert torch.allclose(multiplied(features), logits, atol=1e-4)
    assert logits.std() > 0.1
    assert not features.tensors


@every
def test_gradients_are_those_of_the_models_logits(family):
    """To all parameters, those of the embeddings, which the head is tied to, included."""
    model, inputs = masked_encoder(family, layers=2), batch()
    wanted = {}
    for name, score in (("ours", lambda: multiplied(compute_features(model, inputs, ONLY_VOCABULARY))), ("theirs", None)):
        model.zero_grad()
        (direct(model, inputs) if score is None else score()).log_softmax(-1)[..., 7].sum().backward()
        wanted[name] = {own: parameter.grad for own, parameter in model.named_parameters() if parameter.grad is not None}
    assert wanted["ours"].keys() == wanted["theirs"].keys()
    for name, gradient in wanted["theirs"].items():
        assert torch.allclose(wanted["ours"][name], gradient, rtol=1e-3, atol=1e-4 * (1 + gradient.abs().max())), name


@every
def test_hidden_states_and_attention_come_beside_them(family):
    model, inputs = masked_encoder(family, layers=3), batch()
    needs = needing(hidden_states=frozenset({0, 3}), attentions=frozenset({2})) | ONLY_VOCABULARY
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            features = compute_features(model, inputs, needs)
            alone = compute_features(model, inputs, needs - ONLY_VOCABULARY)
        assert torch.allclose(multiplied(features), direct(model, inputs), atol=1e-4)
        assert features.tensors.keys() == alone.tensors.keys()
        assert torch.allclose(features[Feature("hidden_state", 3)], alone[Feature("hidden_state", 3)])


@every
def test_the_product_is_made_by_nobody_who_was_not_asked(family):
    model, inputs, made = masked_encoder(family, layers=2), batch(), []
    model.register_forward_hook(lambda _module, _given, outputs: made.append(outputs.logits.shape))
    compute_features(model, inputs, ONLY_VOCABULARY)
    both = compute_features(model, inputs, ONLY_VOCABULARY | ONLY_LOGITS)
    vocabulary = model.config.vocab_size
    assert made == [(3, 0, vocabulary), (3, 7, vocabulary)]
    assert torch.allclose(multiplied(both), both[LOGITS], atol=1e-4)
    direct(model, inputs)
    assert made[-1] == (3, 7, vocabulary)  # as it was before


def test_a_head_without_a_bias():
    model = masked_encoder("modernbert", layers=2)
    model.decoder.bias = None
    with torch.no_grad():
        assert torch.allclose(multiplied(compute_features(model, batch(), ONLY_VOCABULARY)), direct(model, batch()), atol=1e-4)


@every
def test_under_autocast_the_product_is_in_its_type(family):
    model, inputs = masked_encoder(family, layers=2), batch()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = compute_features(model, inputs, ONLY_VOCABULARY), direct(model, inputs)
        assert features.vocabulary.states.dtype == torch.bfloat16
        assert features.vocabulary.table.dtype == torch.float32
        assert torch.allclose(multiplied(features), logits.float(), atol=0.03 * float(logits.abs().max()))


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_a_model_with_another_head_has_none(kind):
    with pytest.raises(RuntimeError, match=r"BertFor\w+ has no masked-LM head"):
        compute_features(built("bert", kind), batch(), ONLY_VOCABULARY)
