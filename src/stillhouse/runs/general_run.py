"""The general phase of a run: who learns from a corpus, in order, and how well that can be seen on text that is held out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse import layer_maps
from stillhouse.config import BASELINE_METHOD
from stillhouse.documents import read_json
from stillhouse.evaluation.language import fill_masks, language_scores, masked_accuracy
from stillhouse.features import Features
from stillhouse.files import ASSISTANT, GENERAL, GENERAL_ASSISTANT, MASKED_LM_TEACHER, STUDENT, write_folder
from stillhouse.measure.size import count_parameters, weights_mib
from stillhouse.method import Role, Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions, layer_count
from stillhouse.models.digest import weights_digest
from stillhouse.models.model import Model
from stillhouse.models.saving import save_model
from stillhouse.runs.general import General
from stillhouse.runs.layer_distances import layer_distances
from stillhouse.runs.model_card import write_general_card
from stillhouse.runs.outcome import plain, stage_entry
from stillhouse.runs.prepared import Learner
from stillhouse.runs.trained_once import TrainedOnce, name_of
from stillhouse.runs.work import Work
from stillhouse.teachers.source import Source
from stillhouse.training.stages import train_stage
from stillhouse.training.trainer import StageResult, stage_steps

RECORD = "general.json"  # in the folder of a kept student: how it came to be, and its scores
EXAMPLES = 12
FOLDERS: dict[Role, str] = {"student": STUDENT, "assistant": ASSISTANT}
GENERAL_FOLDERS: dict[Role, str] = {"student": GENERAL, "assistant": GENERAL_ASSISTANT}


@dataclass
class GeneralOutcome:
    """What the general phase left.

    Attributes:
        models: By role, trained; the teacher as it taught.
        stages: Every stage that this run trained, in order.
        has_new_teacher: See `General`.
        record: What metrics.json says of it under `general`.
        notes: What was said on the way.
        seconds: What was spent outside of the stages.
    """

    models: dict[Role, Model]
    has_new_teacher: bool = False
    stages: list[StageResult] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class GeneralRun:
    """A run at work on its corpus.

    Args:
        general: What it works with.
        work: What the phases of the run share.
    """

    def __init__(self, general: General, work: Work) -> None:
        self.general, self.config, self.work = general, general.config, work
        self.accelerator, self.console, self.folder = work.accelerator, work.console, work.folder
        models: dict[Role, Model] = {learner.role: learner.model for learner in general.learners}
        if general.teacher is not None:
            models["teacher"] = general.teacher
        self.outcome = GeneralOutcome(models, general.has_new_teacher)

    @property
    def models(self) -> dict[Role, Model]:
        return self.outcome.models

    def go(self) -> GeneralOutcome:
        """Trains every model of the phase, or finds them as an earlier run left them."""
        if self.general.has_new_teacher:
            self._fit_teacher()
        if self.config.has_task and self._found():
            return self.outcome
        if self.general.fits_teacher and not self.general.has_new_teacher:
            self._fit_teacher()
        for learner in self.general.learners:
            self._train_learner(learner)
        self.outcome.record |= self._record()
        self._save()
        return self.outcome

    def _found(self) -> bool:
        """Whether all that learn have learnt from the same corpus before: then they have the weights that were kept."""
        folders = [self._once(learner).found(self.models[learner.role]) for learner in self.general.learners]
        kept = folders[-1]
        if kept is None or None in folders:
            return False
        self.outcome.record = dict(read_json((kept / RECORD).read_bytes(), RECORD))
        for learner in self.general.learners:
            start = self.outcome.record[learner.role]["start"]
            self.models[learner.role] = replace(self.models[learner.role], start=start, is_fresh=False)
        self._note(f"{self.models['student'].name} has learnt from the same corpus before: it is used again")
        return True

    def _once(self, learner: Learner) -> TrainedOnce:
        return self.work.once("students", learner.stages[-1].name, f"{self._name}{learner.role[0]}")

    def _note(self, said: str) -> None:
        self.outcome.notes.append(said)
        self.console.say(f"  {said}")

    @cached_property
    def _name(self) -> str:
        """Of everything that decides what is learnt from the corpus."""
        general, config = self.general, self.config
        parts: list[Any] = [general.train.fingerprint(), general.selection.fingerprint(), config.general_seed]
        parts += [config.assistant, config.student.model_dump(mode="json"), config.teacher.masked_lm.model_dump(mode="json")]
        for learner in general.learners:
            parts += [weights_digest(learner.model.encoder), *(_described(stage) for stage in learner.stages)]
        parts += [config.teacher.seed, "" if general.teacher is None else weights_digest(general.teacher.encoder)]
        return name_of(*parts, str(self.accelerator.mixed_precision))

    def _score(self, role: Role) -> float:
        return masked_accuracy(self.models[role].encoder, self.general.selection, self.accelerator)

    def _train(self, stages: tuple[Stage, ...], role: Role, teacher: Role | None, seed: int) -> None:
        taught = None if teacher is None else self.models[teacher]
        for number, stage in enumerate(stages):
            model = self.models[role]
            encoder = None if taught is None or stage.teacher is None else taught.encoder
            name = "" if taught is None else f"{taught.name} on {self.general.kept.name}"
            result = train_stage(
                stage,
                model.encoder.to(self.accelerator.device),
                self.general.text_of(stage),
                lambda: self._score(role),
                self.work.context,
                number=number,
                seed=seed,
                selection=self.general.selection.fingerprint(),
                teacher=encoder,
                source=None if encoder is None else Source(self.config.teacher, name, weights_digest(encoder)),
            )
            self.outcome.stages.append(result)

    def _fit_teacher(self) -> None:
        """Fits the masked-LM head of a teacher that has none, or takes the one that was fitted on the same text before."""
        teacher, config = self.models["teacher"], self.config.teacher.masked_lm
        stage = self._teacher_stage()
        text = self.general.text_of(stage)
        steps, _ = stage_steps(stage, len(text))
        parts: list[Any] = [weights_digest(teacher.encoder), text.fingerprint(), self.general.selection.fingerprint()]
        parts += [config.model_dump(), self.config.teacher.seed, str(self.accelerator.mixed_precision)]
        once = self.work.once("teachers", stage.name, name_of("masked_lm", *parts))
        self.console.say(
            f"teacher {teacher.name} has no masked-LM head: fitting one, with all its weights, on the corpus first"
        )
        if once.found(teacher) is None:
            seconds = self._seconds_a_step(teacher, stage) * steps
            self.console.say(f"  {steps:,} steps, about {_time(seconds)}; it is kept for other runs")
            self._train((stage,), "teacher", None, self.config.teacher.seed)
            folder = self.folder / MASKED_LM_TEACHER
            if self.accelerator.is_main_process:
                write_folder(folder, lambda path: save_model(teacher.encoder, teacher.tokenizer, path))
                once.keep(folder)
        else:
            self.console.say("  the same one was fitted on the same text before: it is used again")
        teacher.encoder.to(self.accelerator.device).eval()
        self.models["teacher"] = replace(
            teacher, start=f"{teacher.name}, with a masked-LM head fitted on {self.general.kept.name}"
        )
        self._note(f"teacher: masked accuracy {self._score('teacher'):.3f} on held-out text")

    def _teacher_stage(self) -> Stage:
        """Masked language modelling by the teacher itself, as `finetune` has it."""
        sizes = dimensions(self.models["teacher"].encoder.config)
        (stage,) = load_method(BASELINE_METHOD).model_validate({}).general(sizes, sizes)
        return replace(stage, name=MASKED_LM_TEACHER, config=self.config.teacher.masked_lm, student="teacher", teacher=None)

    def _seconds_a_step(self, model: Model, stage: Stage) -> float:
        """What a step takes here, forward and backward: the second of two."""
        rows = np.arange(min(stage.config.batch_size, len(self.general.train)))
        batch = self.general.text_of(stage).batch(rows).to(self.accelerator.device)
        encoder, seconds = model.encoder.to(self.accelerator.device), 0.0
        with torch.random.fork_rng(devices=[]):
            side = stage.side.build(encoder, None, stage.student_needs)
            for _ in range(2):
                started = time.perf_counter()
                with self.accelerator.autocast():
                    features = side(batch)
                sum(objective(features, Features(), batch) for objective in stage.objectives).backward()  # type: ignore[union-attr]
                seconds = time.perf_counter() - started
            side.release()
        encoder.zero_grad(set_to_none=True)
        return seconds

    def _train_learner(self, learner: Learner) -> None:
        """Trains one model, and measures it before and after on text that is held out."""
        role, started = learner.role, time.perf_counter()
        if learner.restart is not None and learner.teacher is not None:
            self.models[role], start = learner.restart(self.models[learner.teacher])
            self._note(f"{role} starts from {start.description}: {start.sentence()}")
        before, far = self._language(role), self._distances(learner)
        self.outcome.seconds += time.perf_counter() - started
        doing = "distilling" if learner.teacher is not None else "training"
        self.console.say(f"{doing} {self.models[role].name} on {self.general.kept.name}")
        self._train(learner.stages, role, learner.teacher, self.config.general_seed)
        started = time.perf_counter()
        entry = {**_entry(self.models[role]), **self._language(role), "before": before}
        self.outcome.record[role] = entry
        if role == "student":
            far_and_near = zip(far, self._distances(learner), strict=True)
            self.outcome.record["layers"] = [_moved(before, after) for before, after in far_and_near]
        self.outcome.seconds += time.perf_counter() - started

    def _language(self, role: Role) -> dict[str, float | None]:
        """What a model says of masked tokens, beside the teacher; nothing where no head is trained for that."""
        if not self.general.has_head:
            return dict.fromkeys(("score", "perplexity", "agreement", "kl"))
        teacher = self.models.get("teacher") if role != "teacher" else None
        device, validation = self.accelerator.device, self.general.validation
        encoder, other = self.models[role].encoder.to(device), None if teacher is None else teacher.encoder.to(device)
        found = asdict(language_scores(encoder, validation, self.accelerator, teacher=other))
        return {"score": found.pop("masked_accuracy"), **found}

    def _distances(self, learner: Learner) -> list[dict[str, float | None]]:
        """How far each layer is from the teacher's at the same share of the depth."""
        if learner.teacher is None:
            return []
        device = self.accelerator.device
        own, its = (self.models[role].encoder.to(device) for role in (learner.role, learner.teacher))
        return layer_distances(own, its, self.general.validation, _pairs(self.models, learner), self.accelerator)

    def _record(self) -> dict[str, Any]:
        """What metrics.json says of the phase beside what each model has."""
        general, config = self.general, self.config
        started = time.perf_counter()
        record: dict[str, Any] = {
            "data": general.kept.name,
            "method": config.method.name,
            "seed": config.general_seed,
            "metric": "masked_accuracy" if general.has_head else None,
            "corpus": general.kept.described,
            "splits": {
                "train": len(general.train),
                "selection": len(general.selection),
                "held_out": len(general.validation),
                "block_length": config.corpus.block_length,
            },
            "teacher": None,
            "layers": self.outcome.record.get("layers", []),
            "examples": self._examples(),
            "stages": [stage_entry(stage) for stage in self.outcome.stages],
            "notes": [*general.notes, *self.outcome.notes],
        }
        if "teacher" in self.models:
            said = self._language("teacher")
            record["teacher"] = _entry(self.models["teacher"]) | {name: said[name] for name in ("score", "perplexity")}
        self.outcome.seconds += time.perf_counter() - started
        return record

    def _examples(self) -> list[dict[str, Any]]:
        """A few masked sentences with what the models say of them."""
        if not self.general.has_head:
            return []
        text = self.general.validation
        rows = np.linspace(0, len(text) - 1, min(EXAMPLES, len(text))).astype(int)
        roles = [role for role in self.models if role in ("teacher", "student")]
        models = {str(role): self.models[role].encoder for role in roles}
        return fill_masks(models, text, rows.tolist(), self.models["student"].tokenizer, self.accelerator)

    def _save(self) -> None:
        """Writes what the run leaves; where a task follows it is kept for other runs, too."""
        folders = GENERAL_FOLDERS if self.config.has_task else FOLDERS
        for learner in self.general.learners:
            folder = self.folder / folders[learner.role]
            if self.accelerator.is_main_process:
                write_folder(folder, partial(self._write, learner.role))
            if self.config.has_task:
                self._once(learner).keep(folder)

    def _write(self, role: Role, path: Path) -> None:
        save_model(self.models[role].encoder, self.models[role].tokenizer, path)
        write_general_card(path, self.general, self.models[role])
        if self.config.has_task:
            (path / RECORD).write_text(json.dumps(plain(self.outcome.record)), encoding="utf-8")


def _described(stage: Stage) -> list[Any]:
    """All that a stage does."""
    objectives = [(type(objective).__name__, objective.model_dump(mode="json")) for objective in stage.objectives]
    masking = None if stage.masking is None else stage.masking.model_dump(mode="json")
    side = [type(stage.side).__name__, stage.side.model_dump(mode="json")]
    return [stage.name, objectives, side, stage.config.model_dump(mode="json"), masking, asdict(stage.trained), stage.dropout]


def _pairs(models: Mapping[Role, Model], learner: Learner) -> list[tuple[int, int]]:
    """Each layer of a model, and the teacher's at the same share of the depth; 0 = embeddings."""
    assert learner.teacher is not None
    own, its = (layer_count(models[role].encoder.config) for role in (learner.role, learner.teacher))
    return [(0, 0), *enumerate(layer_maps.uniform(own, its), 1)] if own <= its else [(0, 0)]


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """How far a layer was from its teacher's, and how far it is now."""
    measures = [name for name in before if name not in ("student", "teacher")]
    told = {name: {measure: row[measure] for measure in measures} for name, row in (("before", before), ("after", after))}
    return {"own": before["student"], "its": before["teacher"], **told}


def _entry(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "parameters": count_parameters(model.encoder),
        "size_mib": round(weights_mib(model.encoder), 2),
        "start": model.start,
    }


def _time(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
