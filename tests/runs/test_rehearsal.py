"""What a model lacks shows before anything is trained."""

import pytest
from tests.training.toy_stage import toy_encoder, toy_split

from stillhouse.errors import UserError
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.runs.rehearsal import rehearse
from stillhouse.task import load_kind


def stages(student, teacher):
    return (
        load_method("minilmv2")
        .model_validate({})
        .plan(load_kind("classification"), dimensions(student.config), dimensions(teacher.config))
    )


def test_models_are_left_as_they_were():
    student, teacher = toy_encoder(), toy_encoder(1).train()
    rehearse(stages(student, teacher), student, teacher, toy_split())
    assert (student.training, teacher.training) == (False, True)
    assert {student.config._attn_implementation, teacher.config._attn_implementation} == {"sdpa"}
    assert all(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_model_that_attends_more_often_than_it_has_layers_is_refused(side):
    """A pass that ends with the last wanted vectors would not see it."""
    models = {"student": toy_encoder(), "teacher": toy_encoder(1)}
    attention = models[side].bert.encoder.layer[0].attention.self
    attend = attention.forward

    def twice(*given, **more):
        attend(*given, **more)
        return attend(*given, **more)

    attention.forward = twice
    with pytest.raises(UserError, match="attended 3 times instead of 2"):
        rehearse(stages(**models), models["student"], models["teacher"], toy_split())
