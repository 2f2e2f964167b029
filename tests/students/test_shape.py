import pytest
import torch
from tests.tiny_models import FAMILIES, tiny_config
from transformers import CONFIG_MAPPING, AutoModel, BertConfig

from stillhouse.errors import UserError
from stillhouse.models.adapter import head_count, hidden_size, layer_count
from stillhouse.models.spec import Shape
from stillhouse.students.shape import is_shape, parse_shape, student_config


@pytest.mark.parametrize("spec", ["3x384", "3 x 384", " 3X384 ", "3×384", "03x384"])
def test_spellings(spec):
    assert is_shape(spec)
    assert parse_shape(spec, BertConfig()) == Shape(3, 384)
    assert str(Shape(3, 384)) == "3x384"


@pytest.mark.parametrize(("layers", "half"), [(12, 6), (7, 4), (5, 3), (1, 1)])
def test_half_rounds_up(layers, half):
    assert parse_shape("Half", BertConfig(num_hidden_layers=layers)) == Shape(half, 768)


@pytest.mark.parametrize("spec", ["./student", "owner/name", "3", "3x", "x384", "3x384x2", "3.5x384", ""])
def test_what_is_no_shape(spec):
    assert not is_shape(spec)
    with pytest.raises(UserError, match="is no shape"):
        parse_shape(spec, BertConfig())


@pytest.mark.parametrize("spec", ["0x384", "3x0", "-3x384", "3x-384"])
def test_numbers_must_be_positive(spec):
    assert is_shape(spec)
    with pytest.raises(UserError, match="at least one layer and a positive width"):
        parse_shape(spec, BertConfig())


def test_the_width_must_divide_among_the_heads():
    with pytest.raises(UserError, match=r"12 heads(.|\n)*divide 50: 1, 2, 5, 10, 25, 50\n  fix: choose width 48 or 60"):
        student_config(BertConfig(), Shape(3, 50))
    with pytest.raises(UserError, match=r"would divide 5: 1, 5\n  fix: choose width 12"):
        student_config(BertConfig(), Shape(3, 5))


def test_rotary_heads_need_an_even_width():
    teacher = tiny_config("modernbert")
    assert hidden_size(student_config(teacher, Shape(2, 12))) == 12
    with pytest.raises(UserError, match="a multiple of 4; head counts that would divide 6: 1, 3"):
        student_config(teacher, Shape(2, 6))


@pytest.mark.parametrize("family", FAMILIES)
def test_deeper_than_the_teacher(family):
    teacher = tiny_config(family, layers=3)
    with pytest.raises(UserError, match=r"4x24 is deeper than its teacher, which has 3"):
        student_config(teacher, Shape(4, 24))
    config = student_config(teacher, Shape(5, 12))
    assert layer_count(config) == 5
    AutoModel.from_config(config)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [8, 24, 36])
def test_a_student_of_every_family(family, width):
    teacher = tiny_config(family, layers=4)
    before = teacher.to_dict()
    config = student_config(teacher, Shape(2, width))
    assert type(config) is type(teacher)
    assert (layer_count(config), hidden_size(config), head_count(config)) == (2, width, 2)
    assert getattr(config, "hidden_dim" if family == "distilbert" else "intermediate_size") == 4 * width
    assert config.vocab_size == teacher.vocab_size
    assert teacher.to_dict() == before
    ids = torch.tensor([[2, 37, 59, 3]])
    state = AutoModel.from_config(config).eval()(ids).last_hidden_state
    assert state.shape == (1, 4, width)


def test_feed_forward_stays_the_teachers_at_its_width_and_is_1200_for_312():
    teacher = BertConfig(intermediate_size=1111)
    assert student_config(teacher, Shape(3, 768)).intermediate_size == 1111
    assert student_config(teacher, Shape(3, 312)).intermediate_size == 1200
    assert student_config(teacher, Shape(3, 384)).intermediate_size == 1536


def test_embeddings_are_never_wider_than_the_layers():
    teacher = tiny_config("electra", hidden=24)  # embeddings 12 wide
    assert student_config(teacher, Shape(2, 24)).embedding_size == 12
    assert student_config(teacher, Shape(2, 18)).embedding_size == 12
    assert student_config(teacher, Shape(2, 8)).embedding_size == 8


def test_attention_types_follow_the_copied_layers():
    teacher = tiny_config("modernbert", layers=4)
    full, sliding = "full_attention", "sliding_attention"
    assert teacher.layer_types == [full, sliding, sliding, full]
    assert student_config(teacher, Shape(2, 24), (2, 4)).layer_types == [sliding, full]
    assert student_config(teacher, Shape(2, 12)).layer_types == [full, sliding]


# A teacher of 2 layers x 16 with 2 heads, and what its configuration says more; what a student of 1 x 8 says in its place.
REPEATED = {
    "longformer": ({"attention_window": [4, 6]}, {"attention_window": [4]}),
    "deberta-v2": ({"pooler_hidden_size": 16, "relative_attention": True}, {"pooler_hidden_size": 8}),
    "eurobert": ({"head_dim": 8}, {"head_dim": 4}),
    "nomic_bert": ({"head_dim": 8}, {"head_dim": 4}),
    "convbert": ({"embedding_size": 16}, {"embedding_size": 8}),
    "squeezebert": ({"embedding_size": 16}, {"embedding_size": 8}),
    "roformer": ({"embedding_size": 16}, {"embedding_size": 8}),
    "modernbert": ({"layer_types": ["sliding_attention", "full_attention"]}, {"layer_types": ["sliding_attention"]}),
    "xmod": ({"languages": ["en_XX", "de_DE"], "default_language": "en_XX"}, {"languages": ["en_XX", "de_DE"]}),
    "luke": ({"entity_emb_size": 12, "entity_vocab_size": 9}, {"entity_emb_size": 12}),
}


@pytest.mark.parametrize("family", REPEATED)
def test_what_repeats_depth_or_width_changes_with_them(family):
    more, expected = REPEATED[family]
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "mask_token_id": 3}
    teacher = CONFIG_MAPPING[family](**sizes | ids | {"max_position_embeddings": 66} | more)
    same_width = student_config(teacher, Shape(1, 16), (2,))
    for name, value in more.items():
        is_by_layer = isinstance(value, list) and name != "languages"
        assert getattr(same_width, name) == (value[1:] if is_by_layer else value)
    narrow = student_config(teacher, Shape(1, 8))
    assert {name: getattr(narrow, name) for name in expected} == expected
    model = AutoModel.from_config(narrow).eval()
    assert model(torch.tensor([[5, 7, 9, 4]])).last_hidden_state.shape[-1] == 8


def test_mobilebert_has_no_free_width():
    teacher = tiny_config("mobilebert")
    with pytest.raises(UserError, match="bottleneck"):
        parse_shape("2x24", teacher)
    assert parse_shape("half", teacher) == Shape(2, 24)


def test_families_of_another_make_are_refused():
    from transformers import FNetConfig, FunnelConfig, XLMConfig

    assert student_config(FNetConfig(), Shape(2, 24)).intermediate_size == 96
    with pytest.raises(UserError, match="LxH is not known for funnel"):
        student_config(FunnelConfig(), Shape(2, 768))
    with pytest.raises(UserError, match="LxH is not known for xlm"):
        student_config(XLMConfig(), Shape(2, 64))
