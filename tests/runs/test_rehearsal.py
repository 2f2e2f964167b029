"""What a model lacks shows before anything is trained."""

from dataclasses import replace

import pytest
import torch
from tests.training.toy_stage import toy_encoder, toy_split

from stillhouse.errors import UserError
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.models.model import Model
from stillhouse.runs.rehearsal import rehearse, try_to_read
from stillhouse.task import load_kind


def stages(student, teacher, method="minilmv2"):
    return (
        load_method(method)
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


def model(encoder):
    return Model("my-model", encoder, None)


def test_a_model_that_reads_the_longest_text_is_left_as_it_was():
    encoder, state = toy_encoder().train(), torch.random.get_rng_state()
    try_to_read(model(encoder), "the teacher", [toy_split(), toy_split(seed=1)], "choose another")
    assert encoder.training
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("room", [2, 5, 11, 12])
def test_a_text_longer_than_a_model_reads_is_refused_with_the_length_that_it_reads(room):
    short, long = toy_split(rows=3), toy_split()
    assert int(long.lengths.max()) == 13
    with pytest.raises(UserError, match=rf"the teacher my-model, a bert, .*13 tokens(.|\n)*fix: --max-length {room}$"):
        try_to_read(model(toy_encoder(max_position_embeddings=room)), "the teacher", [short, long], "choose another")
    try_to_read(model(toy_encoder(max_position_embeddings=13)), "the teacher", [short, long], "choose another")


def test_a_model_that_reads_nothing_is_blamed_itself():
    encoder = toy_encoder()
    encoder.bert.pooler.dense = torch.nn.Linear(7, 24)
    with pytest.raises(UserError, match=r"the student my-model, a bert, cannot be run: mat1 .*\n  fix: another width"):
        try_to_read(model(encoder), "the student", [toy_split()], "another width")


@pytest.mark.parametrize(("method", "advice"), [("minilmv2", "or --method logit$"), ("logit", "choose another teacher$")])
def test_advice_does_not_name_the_method_that_is_used(method, advice):
    student, teacher = toy_encoder(), toy_encoder(1)
    teacher.bert.encoder.layer[1].attention.forward = None
    with pytest.raises(UserError, match=advice):
        rehearse(stages(student, teacher, method), student, teacher, toy_split())


@pytest.mark.parametrize(("side", "fix"), [("teacher", "choose another teacher$"), ("student", "choose another student, or ")])
def test_who_cannot_be_run_is_named(side, fix):
    models = {"student": toy_encoder(), "teacher": toy_encoder(1)}
    models[side].bert.encoder.layer[1].attention.forward = None
    with pytest.raises(UserError, match=rf"stage 'distil' cannot run the {side} \(bert\): (.|\n)*fix: {fix}"):
        rehearse(stages(**models, method="logit"), models["student"], models["teacher"], toy_split())


def test_a_model_that_teaches_nothing_need_not_read_the_text():
    student, small = toy_encoder(), toy_encoder(1)
    small.resize_token_embeddings(9)  # the text has tokens up to 12
    taught = stages(student, small, "logit")
    with pytest.raises(UserError, match=r"cannot run the teacher \(bert\)"):
        rehearse(taught, student, small, toy_split())
    rehearse([replace(stage, teacher=None) for stage in taught], student, small, toy_split())
