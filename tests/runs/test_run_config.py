"""The run's configuration: complete, closed to unknown keys, all mistakes at once."""

import pytest
import yaml

from stillhouse.errors import UserError, nearest
from stillhouse.methods import load_method, method_names
from stillhouse.runs.options import DEMO, config_from_options, parse_label_map
from stillhouse.runs.reading import parse_config
from stillhouse.runs.run_config import RunConfig


@pytest.mark.parametrize("name", method_names())
def test_round_trip_through_yaml(name):
    config = parse_config({"method": name, "seed": 3})
    assert parse_config(yaml.safe_load(config.to_yaml())) == config
    assert RunConfig.model_validate(config) == config


def test_the_method_on_a_corpus_may_be_another():
    given = {"corpus": "text.txt", "data": "a.csv", "method": "finetune"}
    assert parse_config(given).on_corpus.method.name == "finetune"
    config = parse_config({**given, "general": {"name": "minilm", "stages": {"general": {"epochs": 7}}}})
    usual = load_method("minilm").model_validate({}).stages.general
    assert config.on_corpus.method.stages.general == usual.model_copy(update={"epochs": 7})
    assert (config.method.name, config.on_corpus.method.name) == ("finetune", "minilm")
    assert parse_config(yaml.safe_load(config.to_yaml())) == config
    assert parse_config({**given, "general": "minilm"}).general == load_method("minilm").model_validate({})


def test_resolved_yaml_names_every_value():
    content = yaml.safe_load(parse_config({}).to_yaml())
    assert content["method"]["stages"]["distil"]["warmup"] == 0.1
    assert content["data"]["source"] == "pydocs"


def test_unknown_keys_name_the_nearest_valid_one():
    with pytest.raises(UserError, match=r"unknown key 'method.temprature': did you mean 'temperature'\?"):
        parse_config({"method": {"name": "logit", "temprature": 3}})
    with pytest.raises(UserError, match=r"unknown key 'method.stages.distil.epoch': did you mean 'epochs'\?"):
        parse_config({"method": {"name": "logit", "stages": {"distil": {"epoch": 3}}}})
    for name in ("distilbert", "tinybert"):
        with pytest.raises(UserError, match=r"unknown key 'method.masking.shar': did you mean 'share'\?"):
            parse_config({"method": {"name": name, "masking": {"shar": 0.2}}})
    with pytest.raises(UserError, match=r"unknown key 'teecher': did you mean 'teacher'\?"):
        parse_config({"teecher": {}})


def test_every_mistake_is_reported_at_once():
    with pytest.raises(UserError, match="3 mistakes") as caught:
        parse_config({"seed": -1, "data": {"max_length": 0}, "method": {"name": "logit", "temperature": -2}})
    for name in ("seed", "data.max_length", "method.temperature"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "method.temperature=.nan",
        "method.temperature=0",
        "method.temperature=1e300",
        "method.temperature=.inf",
        "method.temperature=1.0e-300",
        "method.weight_soft=1.5",
        "method.stages.distil.learning_rate=.inf",
        "method.stages.distil.learning_rate=-1e-5",
        "method.stages.distil.epochs=0",
        "method.stages.distil.batch_size=-3",
        "data.max_train=0",
        "data.validation_share=1",
        "engine.log_every=0",
    ],
)
def test_non_positive_and_non_finite_numbers_are_refused(change):
    with pytest.raises(UserError, match=change.split("=")[0]):
        config_from_options({}, changes=[change])


def test_a_field_of_several_types_gives_one_message():
    with pytest.raises(UserError) as caught:
        parse_config({"method": {"name": "pkd", "layer_map": "1,3"}})
    assert str(caught.value).count("layer_map") == 1
    assert "given '1,3'" in str(caught.value)


def test_unknown_method_lists_the_valid_ones():
    with pytest.raises(UserError, match=r"(?s)unknown method 'logits'.*finetune, logit.*did you mean 'logit'"):
        config_from_options({"method": "logits"})


def test_options_and_changes_go_over_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("seed: 1\ndata: {source: a.csv}\nmethod: {name: logit, temperature: 7}\n")
    config = config_from_options({"seed": 5, "epochs": 2.5, "data": None}, config=file, changes=["method.weight_soft=0.25"])
    assert (config.seed, config.data.source) == (5, "a.csv")
    method = config.method.model_dump()
    assert (method["temperature"], method["weight_soft"], method["stages"]["distil"]["epochs"]) == (7, 0.25, 2.5)


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ({"seed": 5}, "seed=4"),
        ({"data": "a.csv"}, "data.source=b.csv"),
        ({"data": "a.csv"}, "data=b.csv"),
        ({"method": "logit"}, "method=pkd"),
        ({"epochs": 1}, "method.stages.distil.epochs=3"),
        ({"epochs": 1}, "method.stages.distil={epochs: 3}"),
    ],
)
def test_one_setting_is_given_once(option, change):
    with pytest.raises(UserError, match=rf"(?s)--{next(iter(option))} and --set {change} are given.*expected: one of them"):
        config_from_options(option, changes=[change])


def test_a_change_of_one_key_leaves_its_neighbours_at_their_own_defaults():
    changed = parse_config({"teacher": {"finetune": {"learning_rate": 0.5}}, "method": {"stages": {"distil": {"epochs": 9}}}})
    default = parse_config({})
    assert changed.teacher.finetune == default.teacher.finetune.model_copy(update={"learning_rate": 0.5})
    assert changed.method.stages.distil == default.method.stages.distil.model_copy(update={"epochs": 9.0, "least_steps": 0})


def test_a_word_stands_for_the_source_and_is_never_lost(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: reviews.csv\nteacher: mine\nstudent: 2x24\n")
    config = config_from_options({"max_length": 32, "allow_weak_teacher": True}, config=file)
    assert (config.data.source, config.data.max_length) == ("reviews.csv", 32)
    assert (config.teacher.source, config.teacher.allow_weak) == ("mine", True)
    assert config.student.shape == "2x24"
    with pytest.raises(UserError, match=r"data is 3, so that data\.source cannot be set"):
        config_from_options({"data": "a.csv"}, changes=["data=3"])


def test_another_method_forgets_the_settings_of_the_first(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("method: {name: logit, temperature: 7}\n")
    config = config_from_options({"method": "finetune", "learning_rate": 0.5}, config=file)
    assert config.method.name == "finetune"
    assert config.method.model_dump()["stages"]["finetune"]["learning_rate"] == 0.5


@pytest.mark.parametrize(("content", "message"), [("- a\n", "holds a list"), ("a: [", "is not YAML"), (None, "cannot read")])
def test_broken_run_files(tmp_path, content, message):
    file = tmp_path / "run.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        config_from_options({}, config=file)


def test_changes_need_a_value():
    with pytest.raises(UserError, match="key=value"):
        config_from_options({}, changes=["method.temperature"])


def test_label_map():
    assert parse_label_map(["pos=POSITIVE", "neg=NEGATIVE"]) == {"pos": "POSITIVE", "neg": "NEGATIVE"}
    with pytest.raises(UserError, match="data=teacher"):
        parse_label_map(["pos"])


def test_nearest():
    assert nearest("Logits", ["logit", "finetune"]) == "logit"
    assert nearest("zzz", ["logit", "finetune"]) is None


def test_messages_name_the_option_beside_the_key():
    with pytest.raises(UserError, match=r"--batch-size \(method.stages.distil.batch_size\): input should be greater than 0"):
        config_from_options({"batch_size": 0})
    with pytest.raises(UserError, match=r"--precision \(engine.precision\): input should be 'auto', 'fp32' or 'bf16'"):
        config_from_options({"precision": "fp16"})


# The demo: settings for the built-in data and teacher alone.


def test_nothing_given_is_the_demo():
    config = config_from_options({})
    assert (config.data.source, config.teacher.source, config.student.shape) == ("pydocs", "offline", "2x384")
    demo = yaml.safe_load(DEMO.read_text())
    assert config.method.stages.distil.learning_rate == demo["method"]["stages"]["distil"]["learning_rate"]
    assert config.teacher.finetune.epochs == demo["teacher"]["finetune"]["epochs"]


def test_what_is_given_goes_over_the_demo(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: pydocs\nmethod: {weight_soft: 0.25}\n")
    config = config_from_options({"student": "half", "epochs": 3}, config=file)
    method = config.method.model_dump()
    assert (config.student.shape, method["weight_soft"], method["stages"]["distil"]["epochs"]) == ("half", 0.25, 3)
    assert config.data.max_length == yaml.safe_load(DEMO.read_text())["data"]["max_length"]


@pytest.mark.parametrize("options", [{"data": "reviews.csv"}, {"teacher": "google-bert/bert-base-uncased"}])
def test_other_data_or_teachers_know_nothing_of_the_demo(options):
    config = config_from_options(options)
    place = "data" if "data" in options else "teacher"
    assert config == parse_config({place: {"source": options[place]}})


def test_another_method_keeps_its_own_settings_in_the_demo():
    config = config_from_options({"method": "finetune"})
    assert config.method == parse_config({"method": "finetune"}).method
    assert config.data.max_length is not None


def test_a_label_cannot_be_sent_to_two():
    with pytest.raises(UserError, match="sends 'a' to 'b' and to 'c'"):
        parse_label_map(["a=b", "a=c"])
    assert parse_label_map(["a=b", "a=b"]) == {"a": "b"}


def test_epochs_that_are_asked_for_are_taken_at_their_word():
    usual = parse_config({}).method.stages.distil
    assert (usual.epochs, usual.least_steps) == (4, 300)
    asked = parse_config({"method": {"stages": {"distil": {"epochs": 2}}}}).method.stages.distil
    assert (asked.epochs, asked.least_steps) == (2, 0)
    both = parse_config({"method": {"stages": {"distil": {"epochs": 2, "least_steps": 50}}}}).method.stages.distil
    assert (both.epochs, both.least_steps) == (2, 50)
    assert parse_config(yaml.safe_load(parse_config({}).to_yaml())).method.stages.distil == usual


@pytest.mark.parametrize(
    "change",
    [
        "seed=true",
        "data.max_train=true",
        "method.temperature=true",
        "method.stages.distil.epochs=false",
        "student.layers=[true, 2]",
        "engine.log_every=true",
        "data.selection_share=true",
    ],
)
def test_true_is_no_number(change):
    with pytest.raises(UserError, match="input should be neither true nor false, given"):
        config_from_options({}, changes=[change])


def test_true_where_it_belongs():
    config = config_from_options({}, changes=["baseline=true", "teacher.allow_weak=true"])
    assert config.baseline
    assert config.teacher.allow_weak


@pytest.mark.parametrize("content", ["seed: 1\nseed: 2\n", "method: {name: pkd, temperature: 1, temperature: 2}\n"])
def test_a_run_file_that_says_a_thing_twice(tmp_path, content):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError, match="stands twice"):
        config_from_options({}, config=tmp_path / "run.yaml")
