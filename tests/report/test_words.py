import pytest

from stillhouse.report import summary_lines, time_lines
from stillhouse.report.words import count, duration, milliseconds, percent, signed, typeset, verdict


def test_a_student_below_its_teacher_with_a_gain_within_noise(make_metrics):
    lines = summary_lines(make_metrics("classification"))
    # 0.871 / 0.890 = 0.97865; 1 - 17390208 / 22713216 = 0.234; 5.9 / 3.1 = 1.903.
    assert lines[0] == (
        "The student keeps 97.9 % of the teacher's accuracy (0.871 of 0.890) with 23 % fewer parameters"
        " and answers 1.9 times as fast."
    )
    assert lines[1] == "Student minus teacher is -0.019 (95 % interval -0.030 to -0.008), which is more than noise."
    assert lines[2] == (
        "The same student trained without the teacher gets 0.864; the difference is +0.007 (95 % interval -0.004 to +0.018),"
        " which is within noise: this run does not show that the teacher helped."
    )
    assert lines[3] == "Student and teacher give the same answer for 94.1 % of the rows."
    # 17390208 * 4 / 2^20 = 66.34; 22713216 * 4 / 2^20 = 86.64.
    assert lines[4] == (
        "Size and speed: 17.4 M parameters instead of 22.7 M; 66.3 MiB instead of 86.6 MiB;"
        " 3.10 ms a text instead of 5.90 ms (batch 1, 32 tokens, 2 threads, fp32)."
    )
    assert lines[5] == (
        "Scored once, on the validation split of reviews (872 rows), with one seed;"
        " intervals are over its rows, not over seeds."
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.013, "which is above noise: the teacher helped and closed 26.9 % of the gap to it."),
        (0.0, 0.014, "which is within noise: this run does not show that the teacher helped."),
        (-0.014, 0.0, "which is within noise: this run does not show that the teacher helped."),
        (-0.013, -0.001, "which is worse by more than noise: here the teacher did harm."),
    ],
)
def test_what_the_teacher_added(make_metrics, low, high, said):
    metrics = make_metrics("classification")
    metrics["comparisons"]["student_minus_baseline"] = {"difference": 0.007, "low": low, "high": high}
    assert summary_lines(metrics)[2].endswith(said)


def test_a_share_of_the_gap_above_all_of_it_is_not_said(make_metrics):
    metrics = make_metrics("classification") | {"gap_closed": 1.2}
    metrics["comparisons"]["student_minus_baseline"] = {"difference": 0.007, "low": 0.002, "high": 0.012}
    assert summary_lines(metrics)[2].endswith("above noise: the teacher helped.")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.005, "The student scores better than its teacher: accuracy 0.893 against 0.890 with 23 % fewer"),
        (0.0, 0.006, "The student scores as well as its teacher, within noise: accuracy 0.893 against 0.890 with 23 % fewer"),
        (
            -0.005,
            0.011,
            "The student scores as well as its teacher, within noise: accuracy 0.893 against 0.890 with 23 % fewer",
        ),
    ],
)
def test_a_student_above_its_teacher(make_metrics, low, high, said):
    """The headline says no more than the sentence with the interval below it."""
    metrics = make_metrics("classification")
    metrics["student"]["score"] = 0.893
    metrics["comparisons"]["student_minus_teacher"] = {"difference": 0.003, "low": low, "high": high}
    lines = summary_lines(metrics)
    assert lines[0].startswith(said)
    assert lines[1].endswith("which is within noise." if low <= 0 else "which is more than noise.")


def test_above_its_teacher_without_an_interval_nothing_is_claimed(make_metrics):
    metrics = make_metrics("classification") | {"comparisons": {}}
    metrics["student"]["score"] = 0.893
    assert summary_lines(metrics)[0].startswith("The student's accuracy is 0.893, the teacher's 0.890; the student comes with")


def test_a_student_as_good_as_its_teacher(make_metrics):
    metrics = make_metrics("classification")
    metrics["student"]["score"] = 0.8904
    assert summary_lines(metrics)[0].startswith("The student matches the teacher's accuracy (0.890) with 23 % fewer")


def test_a_correlation_is_no_share(make_metrics):
    metrics = make_metrics("regression") | {"retention": 0.9787}
    lines = summary_lines(metrics)
    assert lines[0] == (
        "The student's Pearson correlation is 0.871, the teacher's 0.890; the student comes with 23 % fewer parameters"
        " and answers 1.9 times as fast."
    )
    assert "The student's outputs correlate with the teacher's at 0.941 (Pearson)." in lines


def test_of_an_error_less_is_better(make_metrics):
    metrics = make_metrics("regression") | {"metric": "mse"}
    metrics["student"]["score"], metrics["teacher"]["score"] = 0.52, 0.47
    # An error that falls by 0.007 to 0.013 is a gain.
    metrics["comparisons"]["student_minus_baseline"] = {"difference": -0.01, "low": -0.013, "high": -0.007}
    lines = summary_lines(metrics)
    assert lines[0].startswith("The student's mean squared error is 0.520, the teacher's 0.470 (lower is better);")
    assert "above noise: the teacher helped" in lines[2]
    metrics["student"]["score"] = 0.41
    metrics["comparisons"]["student_minus_teacher"] = {"difference": -0.06, "low": -0.09, "high": -0.03}
    better = "The student scores better than its teacher: mean squared error 0.410 against 0.470 (lower is better)"
    assert summary_lines(metrics)[0].startswith(better)
    metrics["student"]["score"] = 0.47
    matches = "The student matches the teacher's mean squared error (0.470; lower is better) with"
    assert summary_lines(metrics)[0].startswith(matches)


def test_without_a_teacher(make_metrics):
    lines = summary_lines(make_metrics("classification", roles=("student",)))
    assert lines[0] == (
        "The model reaches an accuracy of 0.871 (95 % interval 0.851 to 0.891); it was trained without a teacher."
    )
    assert not any("Student" in line or "instead of" in line for line in lines)


def test_without_a_baseline_it_says_what_it_cannot_say(make_metrics):
    lines = summary_lines(make_metrics("classification", roles=("teacher", "student")))
    assert "The same student was not trained without the teacher, so this run cannot say what the teacher added." in lines


def test_without_comparisons_no_noise_is_claimed(make_metrics):
    lines = summary_lines(make_metrics("classification") | {"comparisons": {}})
    assert "the difference is +0.007, and no interval says whether that is noise." in lines[1]


@pytest.mark.parametrize(
    ("p50", "parameters", "said"),
    [
        (5.8, 22_713_216, "with as many parameters and answers about as fast."),
        (8.26, 45_426_432, "with 100 % more parameters and takes 1.4 times as long to answer."),
        (0.25, 227_132, "with 99.0 % fewer parameters and answers 24 times as fast."),
    ],
)
def test_size_and_speed(make_metrics, p50, parameters, said):
    metrics = make_metrics("classification")
    metrics["student"] |= {"latency_ms": {"p50": p50, "p95": p50}, "parameters": parameters}
    assert summary_lines(metrics)[0].endswith(said)


def test_only_speed_and_only_size(make_metrics):
    metrics = make_metrics("regression")
    metrics["student"]["parameters"] = None
    assert summary_lines(metrics)[0].endswith("; the student answers 1.9 times as fast.")
    metrics["teacher"]["latency_ms"] = None
    assert summary_lines(metrics)[0].endswith("the teacher's 0.890.")


def test_a_test_split_is_told(make_metrics):
    test = {role: {"score": score} for role, score in (("teacher", 0.9), ("student", 0.88), ("baseline", 0.86))}
    lines = summary_lines(make_metrics("classification") | {"test": test})
    said = "On the test split: the teacher 0.900, the student 0.880, the student without the teacher 0.860."
    assert said in lines


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(22_713_216), "22.7 M"),
        (count(999_950), "1.0 M"),
        (count(417), "417"),
        (count(108_310_272), "108 M"),
        (count(1_340_000_000), "1.3 B"),
        (count(None), "–"),
        (duration(59.94), "59.9 s"),
        (duration(59.96), "1 min 0 s"),
        (duration(245.2), "4 min 5 s"),
        (duration(7830), "2 h 10 min"),
        (milliseconds(9.996), "10.0 ms"),
        (milliseconds(123.4), "123 ms"),
        (signed(-0.0004), "0.000"),
        (signed(0.0005001), "+0.001"),
        (percent(0.99996), "99.9 %"),
        (percent(1.0), "100.0 %"),
        (percent(1.0034), "100.3 %"),
        (
            typeset("-0.01 (95 % interval -0.030 to 0.1), all-MiniLM-6"),
            "−0.01 (95\u00a0% interval −0.030 to 0.1), all-MiniLM-6",
        ),
    ],
)
def test_numbers_as_people_write_them(written, expected):
    assert written == expected


def test_verdict_turns_round_for_errors():
    assert verdict(0.01, 0.02, "accuracy") == 1
    assert verdict(0.01, 0.02, "mse") == -1
    assert verdict(-0.01, 0.02, "mse") == 0


def test_where_the_time_went(make_metrics):
    parts = {"teacher": 61.4, "features": 0.02, "student": 33.25, "preparing": 9.5, "latency": 0.85}
    assert time_lines(make_metrics("classification") | {"cost": {"parts": parts}}) == [
        "Where the time went (1 min 45 s):",
        "      9.5 s  data and models",
        "  1 min 1 s  the teacher's training",
        "     33.2 s  the student's training",
        "      0.8 s  latency",
    ]


def test_records_that_do_not_know_the_time_by_part_say_nothing(make_metrics):
    assert time_lines(make_metrics("classification") | {"cost": {"train_seconds": 1.0}}) == []
