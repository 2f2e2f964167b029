"""Where the time of a run goes."""

from stillhouse.runs.outcome import cost_of
from stillhouse.training.trainer import StageResult


def stage(model, seconds, examples, teacher_seconds=0.0):
    return StageResult(f"{model}-stage", model, 7, seconds, examples, None, 7, teacher_seconds)


ON_TASK = [stage("teacher", 11.0, 5), stage("student", 3.0, 20, 2.0), stage("student", 4.0, 30, 1.0), stage("baseline", 2.5, 9)]


def test_a_run_by_who_learnt():
    """50 examples in 7 s of training and 3 s of the teacher's."""
    cost = cost_of(ON_TASK, {"scoring": 0.25})
    assert (cost["train_seconds"], cost["teacher_seconds"], cost["examples_per_second"]) == (7.0, 14.0, 5.0)
    assert cost["parts"] == {"teacher": 11.0, "features": 3.0, "student": 7.0, "baseline": 2.5, "scoring": 0.25}


def test_a_general_phase_is_a_part_of_its_own():
    general = [stage("teacher", 100.0, 1000), stage("assistant", 50.0, 900), stage("student", 40.0, 800, 6.0)]
    alone, both = cost_of(ON_TASK, {"general": 0.5}), cost_of(ON_TASK, {"general": 0.5}, general=general)
    assert both["parts"] == alone["parts"] | {"general": 196.5}
    for name in ("train_seconds", "teacher_seconds", "examples_per_second"):
        assert both[name] == alone[name]
