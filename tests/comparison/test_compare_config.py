"""What a comparison is told, and what it makes of it; mistakes are said at once."""

import pytest
from tests.commands import refused

from stillhouse import UserError
from stillhouse.comparison.compare_config import comparison_from_options, with_rate
from stillhouse.methods import load_method, method_names


def make(changes=(), **options):
    return comparison_from_options({"data": "reviews.csv", **options}, changes=changes)


def rates(config, label):
    return {name: stage.learning_rate for name, stage in config.methods[label].stages}


def test_everything_has_a_default():
    config = comparison_from_options({})
    assert set(config.methods) == set(method_names()) - {"finetune"}
    assert config.seeds == (0, 1, 2)
    assert config.grid == (3e-5, 1e-4, 3e-4)
    assert config.students == ("2x384",)
    assert config.data.max_length == 32
    # Of the demo's settings those of its method are left out: every method has its own.
    assert config.methods["logit"] == load_method("logit").model_validate({})


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ({"epochs": 1}, "methods.tinybert.stages.prediction.epochs=3"),
        ({"seeds": "1"}, "seeds=[2]"),
        ({"max_train": 10}, "data.max_train=20"),
        ({"max_train": 10}, "data={max_train: 20}"),
        ({"data": "a.csv"}, "data=b.csv"),
    ],
)
def test_one_setting_is_given_once(option, change):
    with pytest.raises(UserError, match=r"(?s)--set .* are given, which set the same.*expected: one of them"):
        make([change], methods="logit,tinybert", **option)


@pytest.mark.parametrize("stage", ["replacing", "successor"])
@pytest.mark.parametrize("decider", [{}, {"grid": "1e-4"}, {"learning_rate": 1e-4}])
def test_a_rate_that_something_else_decides_is_refused(stage, decider):
    change = f"methods.theseus.stages.{stage}.learning_rate=1e-3"
    with pytest.raises(UserError, match=rf"(?s)--set methods\.theseus\.stages\.{stage}\.learning_rate.*expected: one of them"):
        make([change], methods="theseus", **decider)
    assert rates(make([change], methods="theseus", grid=()), "theseus")[stage] == 1e-3


def test_the_common_option_is_not_about_other_stages():
    config = make(["methods.tinybert.stages.intermediate.epochs=3"], methods="tinybert", epochs=1)
    stages = config.methods["tinybert"].stages
    assert (stages.intermediate.epochs, stages.prediction.epochs) == (3, 1)


def test_lists_come_as_text_or_as_lists():
    as_text = make(methods="pkd, logit", students="3x384,half", seeds="4,2", grid="3e-4,1e-4")
    as_lists = make(methods=["pkd", "logit"], students=["3x384", "half"], seeds=[4, 2], grid=[3e-4, 1e-4])
    assert as_text == as_lists
    assert list(as_text.methods) == ["pkd", "logit"]
    assert as_text.grid == (1e-4, 3e-4)
    assert as_text.seeds == (4, 2)
    assert make(grid=()).grid == ()
    assert make().students == ()


def test_single_settings_choose_no_method():
    config = make(changes=["methods.tinybert.layer_map=top"])
    assert set(config.methods) == set(method_names()) - {"finetune"}
    assert config.methods["tinybert"].layer_map == "top"


def test_the_folder_is_a_path():
    with pytest.raises(UserError, match="out is 5"):
        make(changes=["out=5"])


def test_a_list_chooses():
    assert list(make(changes=["methods=[logit]"]).methods) == ["logit"]
    assert make(changes=["methods={top: tinybert}"], methods="top").methods["top"].name == "tinybert"
    assert make(changes=["seeds=null", "grid=null"]).seeds == (0, 1, 2)


def test_a_file_chooses_methods_and_options_change_it(tmp_path):
    path = tmp_path / "compare.yaml"
    path.write_text(
        "data: reviews.csv\nmethods:\n  pkd: {temperature: 7}\n  top: {name: tinybert, layer_map: top}\nseeds: [5]\n"
    )
    config = comparison_from_options({"seeds": "6"}, config=path)
    assert list(config.methods) == ["pkd", "top"]
    assert config.methods["pkd"].temperature == 7
    assert config.methods["top"] == load_method("tinybert").model_validate({"layer_map": "top"})
    assert config.seeds == (6,)
    narrowed = comparison_from_options({"methods": "pkd"}, config=path)
    assert list(narrowed.methods) == ["pkd"]
    with pytest.raises(UserError, match="there are settings of top, which is not among the methods pkd"):
        comparison_from_options({"methods": "pkd"}, config=path, changes=["methods.top.layer_map=bottom"])
    path.write_text("data: reviews.csv\nmethods: {pdk: {temperature: 4}}\n")
    with pytest.raises(UserError, match="unknown method 'pdk'"):
        comparison_from_options({"methods": "pkd"}, config=path)
    path.write_text("data: reviews.csv\nmethods: [pkd, logit]\n")
    assert list(comparison_from_options({}, config=path).methods) == ["pkd", "logit"]


def test_one_rate_for_the_stages_that_are_scored():
    config = make(learning_rate=2e-4, epochs=7)
    assert config.grid == ()
    assert rates(config, "theseus") == {"replacing": 2e-4, "successor": 2e-4}
    assert rates(config, "tinybert") == {"general": 3e-4, "intermediate": 5e-5, "prediction": 2e-4}
    assert rates(config, "distilbert") == {"general": 3e-4, "distil": 2e-4}  # it is scored, but trained once for all rates
    assert rates(config, "logit") == {"distil": 2e-4}
    assert config.methods["theseus"].stages.successor.epochs == 7
    assert config.methods["theseus"].stages.replacing.epochs == 10
    minilm = load_method("minilm").model_validate({})
    assert with_rate(minilm, 0.5).stages.relations == minilm.stages.relations
    assert with_rate(minilm, 0.5).stages.distil.learning_rate == 0.5


def test_with_a_corpus_those_are_compared_that_learn_from_it():
    config = make(corpus=["a.txt", "b.txt"], assistant="3x384")
    assert set(config.methods) == {"distilbert", "minilm", "minilmv2", "tinybert"}
    assert (config.corpus.source, config.assistant) == (("a.txt", "b.txt"), "3x384")
    assert {"a.txt", "b.txt"} < {*config.inputs}
    assert rates(config, "minilm") == rates(make(), "minilm")


def test_official_reductions_are_for_those_who_know_them():
    config = make(compat="official", methods="logit,pkd")
    assert config.methods["pkd"].compat == "official"


MISTAKES = {
    "--methods pdk": "unknown method 'pdk'",
    "--methods logit,logit": "--methods names logit twice",
    "--methods finetune": "finetune leaves nothing to compare",
    "--methods lo/git": "--methods 'lo/git'",
    "--seeds 0,-1": "--seeds '-1'",
    "--seeds one": "--seeds 'one'",
    "--seeds 1,1": "--seeds names 1 twice",
    "--seeds ,": "--seeds names none",
    "--seeds 0,1 --seed 2": "--seeds and --seed are given, which are one option",
    "--methods ,": "--methods names no method",
    "--methods pkd --epochs 1 --set methods.pkd.stages.distil.steps=5": "--epochs and methods.pkd.stages.distil.steps",
    "--grid 0": "--grid '0'",
    "--grid 1e-4,nan": "--grid 'nan'",
    "--grid 1e-4 --no-grid": "--grid and --no-grid are given",
    "--grid 1e-4 --learning-rate 1e-4": "--grid and --learning-rate are given",
    "--learning-rate -1": "--learning-rate",
    "--set methods.pkd.temprature=3": "unknown key 'methods.pkd.temprature': did you mean 'temperature'? methods.pkd has",
    "--methods finetuned": "unknown method 'finetuned'",
    "--methods logit --compat official": "--compat official is given, but there is none for logit",
    "--grid ,": "--grid ',' names no rate",
    "--methods logit --set methods.pkd.temperature=3": "there are settings of pkd, which is not among the methods logit",
    "--set method.temperature=3": "unknown key 'method': did you mean 'methods'?",
    "--set enginee.log_every=3": "unknown key 'enginee': did you mean 'engine'?",
    "--set methods.pkd.stages.distil.select_on=none": "is not scored on the selection rows, by which learning rates are chosen",
    "--precision fp8": "--precision",
    "--students 3x": "no shape",
    "--data nowhere.csv": "nowhere.csv",
    "--set methods=5": "methods is 5",
    "--set students=3": "students is 3",
    "--set methods.logit=3": "methods.logit is 3",
    "--set methods.finetune.steps=9": "there are settings of finetune, but the baseline takes",
    "--methods finetune2 --set methods.finetune2.name=pkd": "a name that does not begin with finetune",
    "--set methods.finetune.name=pkd": "there are settings of finetune",
    "--corpus text.txt --methods logit,minilm,pkd": "methods that learn from the rows of a task alone: logit, pkd",
    "--corpus nowhere.txt": "no file or folder 'nowhere.txt'",
    "--methods pkd --assistant 2x384 --students 2x384": "has the shape of the student",
}


@pytest.mark.parametrize("given", ["--corpus text.txt", "--corpus text.txt --methods minilm", "--set data.source=null"])
def test_a_comparison_has_a_task(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "a comparison is of scores on a task" in refused(tmp_path, capsys, "compare", *given.split())


@pytest.mark.parametrize("given", MISTAKES)
def test_one_message_and_nothing_written(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"a text {row},{row % 2}\n" for row in range(40)))
    data = [] if "--data" in given else ["--data", "data.csv"]
    assert MISTAKES[given] in refused(tmp_path, capsys, "compare", *data, "--out", "out", *given.split())
