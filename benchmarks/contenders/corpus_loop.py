"""Learning from plain text: preparing it, steps on it, and memory; the last line printed is what was measured.

python contenders/corpus_loop.py WORKLOAD --do prepare|DOES [--steps 12] [--memory]

`DOES` is a method, whose general stage is trained, the teacher beside the student; `encoder`, the same two models with next to
no loss: a forward pass of the teacher and masked-LM training of the student without its head; or `transformers`, masked-LM
training of the same student as BertForMaskedLM does it, with scores of every position. Batches of 32 blocks of 128 tokens. With
`--memory` one pass, forward and backward, of 8 blocks of 512 tokens: what it takes at its most beyond what was there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from bare_stage import train_stage
from torch import Tensor

from stillhouse.config import EngineConfig, StageConfig, TeacherConfig
from stillhouse.corpus.corpus import Corpus
from stillhouse.corpus.kept_corpus import KeptCorpus, prepare_corpus
from stillhouse.corpus.masking import Masking
from stillhouse.data.batch import Batch
from stillhouse.data.text import Step
from stillhouse.features import Feature, Features, Needs
from stillhouse.machine.engine import build_accelerator, resolve_precision
from stillhouse.machine.memory import forget_peak_memory, peak_memory_mib
from stillhouse.method import Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions, layer_count
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import load_encoder, load_tokenizer
from stillhouse.objective import Objective
from stillhouse.students.build import build_student
from stillhouse.task import MASKED_LM, NO_HEAD
from stillhouse.teachers.source import OnlineTeacher, Source

STUDENT = "3x384"
WITH_HEAD = ("distilbert", "finetune", "transformers")
WARM_UP = 2
Found = dict[str, float]


class LastStates(Objective):
    """Mean square of the student's last hidden states; the teacher's are made, too.

    Attributes:
        own: The student's last layer.
        its: The teacher's.
    """

    name: ClassVar[str] = "last_states"
    own: int
    its: int

    @property
    def student_needs(self) -> Needs:
        return frozenset({Feature("hidden_state", self.own)})

    @property
    def teacher_needs(self) -> Needs:
        return frozenset({Feature("hidden_state", self.its)})

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:  # noqa: ARG002
        return student[Feature("hidden_state", self.own)].float().square().mean()


def main() -> None:
    """Measures one thing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--do", required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["STILLHOUSE_CACHE"] = cache
        source = options.workload / "corpus.txt"
        started = time.perf_counter()
        kept = prepare(source, 512 if options.memory else 128)
        seconds = time.perf_counter() - started
        if options.do == "prepare":
            found = {"mb_a_second": source.stat().st_size / 1e6 / seconds}
        elif options.memory:
            found = memory(options.do, kept)
        else:
            found = speed(options.do, kept, options.steps)
    print(json.dumps(found))


def prepare(source: Path, length: int) -> KeptCorpus:
    """Blocks of the workload's text."""
    return prepare_corpus([source], load_tokenizer(find_checkpoint("offline")), block_length=length)


def models(name: str) -> tuple[Any, Any]:
    """Student and teacher."""
    head = MASKED_LM if name in WITH_HEAD else NO_HEAD
    teacher, _ = load_encoder(find_checkpoint("offline"), head)
    rule = load_method("finetune")().copied_layers
    student, _ = build_student(STUDENT, teacher=teacher, teacher_checkpoint_name="teacher", head=head, layers_rule=rule)
    return student, teacher


def stage_of(name: str, student: Any, teacher: Any, config: StageConfig) -> Stage:
    """What is trained."""
    if name == "encoder":
        layers = (layer_count(model.config) for model in (student, teacher))
        objective = LastStates(**dict(zip(("own", "its"), layers, strict=True)))
        return Stage("encoder", (objective,), config, text="corpus", masking=Masking())
    method = load_method(name)()
    method = method.model_copy(update={"stages": method.stages.model_copy(update={method.general_stages[0]: config})})
    return method.general(dimensions(student.config), dimensions(teacher.config))[0]


def speed(name: str, kept: KeptCorpus, steps: int) -> Found:
    """Seconds of steps, and of reading for as many."""
    student, teacher = models(name)
    config = StageConfig(steps=steps, batch_size=32, select_on="none")
    if name == "transformers":
        return bare_masked_lm(student, kept.train().masked(Masking()), steps)
    stage = stage_of(name, student, teacher, config)
    text = kept.train().masked(stage.masking)
    taught = {} if stage.teacher is None else {"teacher": teacher, "source": Source(TeacherConfig(features="online"))}
    for model in (student, teacher):
        model.train(model is student)
    warm_up = stage_of(name, student, teacher, config.model_copy(update={"steps": WARM_UP}))
    train_stage(warm_up, student, text, **taught)
    result = train_stage(stage, student, text, **taught)
    return {"examples": result.examples, "seconds": result.seconds, "read_seconds": reading(text, steps)}


def reading(text: Corpus, steps: int) -> float:
    """Seconds that the batches of so many steps take, masks and counts included."""
    started = time.perf_counter()
    for number, rows in enumerate(batches(text, steps)):
        step = Step(number, steps, rows, 0)
        text.counts(rows, step)
        text.batch(rows, step)
    return time.perf_counter() - started


def batches(text: Corpus, steps: int, size: int = 32) -> list[Any]:
    """Rows of so many steps."""
    order = np.random.default_rng(0).permutation(len(text))
    return [np.resize(np.roll(order, -number * size), size) for number in range(steps)]


def bare_masked_lm(student: Any, text: Corpus, steps: int) -> Found:
    """What people write around BertForMaskedLM, with what makes it fast on a CPU."""
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    is_bf16 = resolve_precision("auto") == "bf16"
    student.train()
    started = 0.0
    for number, rows in enumerate(batches(text, WARM_UP + steps)):
        if number == WARM_UP:
            started = time.perf_counter()
        batch = text.batch(rows, Step(number, WARM_UP + steps, rows, 0))
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            loss = student(**batch.learner.arguments(), labels=batch.labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
    return {"examples": 32 * steps, "seconds": time.perf_counter() - started}


def memory(name: str, kept: KeptCorpus) -> Found:
    """Of a second pass, after what libraries load once and gradients take for good."""
    student, teacher = models(name)
    stage = stage_of(name, student, teacher, StageConfig(select_on="none"))
    accelerator = build_accelerator(EngineConfig())
    online = OnlineTeacher(teacher, stage.teacher_needs, accelerator)
    side = stage.side.build(student, teacher, stage.student_needs).train()
    text = kept.train().masked(stage.masking)
    before = 0.0
    for number, rows in enumerate(batches(text, 2, size=8)):
        forget_peak_memory()
        before = peak_memory_mib()
        batch = text.batch(rows, Step(number, 2, rows, 0))
        theirs = online.features(batch)
        with accelerator.autocast():
            ours = side(batch)
        losses = [objective.weight * objective(ours, theirs, batch) for objective in stage.objectives]
        torch.stack(losses).sum().backward()
        side.zero_grad(set_to_none=True)
    return {"peak_mib": peak_memory_mib() - before}


if __name__ == "__main__":
    main()
