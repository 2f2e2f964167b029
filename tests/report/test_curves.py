"""What of a log is drawn."""

from stillhouse.report.curves import read_curves


def test_curves_leave_out_what_is_not_a_number():
    log = [
        {"stage": "distil", "step": 40, "objectives": {"soft_labels": 0.5, "hard_labels": float("nan")}},
        {"stage": "distil", "step": 20, "objectives": {"soft_labels": 0.7}},
        {"stage": "distil", "step": 40, "selection": 0.8},
        {"stage": "distil", "step": 60, "selection": {"accuracy": 0.9, "mcc": 0.1}},
        {"stage": "empty", "step": 20, "objectives": {}},
    ]
    (curve,) = read_curves(log, lambda stage: {"distil": "accuracy"}.get(stage, ""))
    assert curve.losses == {"soft_labels": ([20, 40], [0.7, 0.5])}
    assert curve.selection == ([40, 60], [0.8, 0.9])
