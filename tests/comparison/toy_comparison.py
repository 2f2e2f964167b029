"""A small comparison on toy data with tiny encoders, and how its rows are found."""

from stillhouse import compare

SETTINGS = ["teacher.finetune.learning_rate=0.003", "teacher.finetune.epochs=3", "teacher.finetune.batch_size=32"]
SETTINGS += ["methods.theseus.stages.replacing.epochs=2"]
GIVEN = {"students": "2x24", "epochs": 1, "batch_size": 32, "max_length": 32, "allow_weak_teacher": True}
GIVEN |= {"methods": "logit,pkd,theseus", "seeds": [0, 3], "grid": "2e-3,5e-3"}


def run(shelf, out, changes=None, **options):
    values = GIVEN | {"data": str(shelf / "data.csv"), "teacher": str(shelf / "bert")} | options
    if changes is None:
        changes = SETTINGS if "theseus" in values["methods"] else SETTINGS[:3]
    return compare(out=out, changes=changes, **values)


def rows_of(comparison, **wanted):
    return [row for row in comparison.results["rows"] if all(row[name] == value for name, value in wanted.items())]
