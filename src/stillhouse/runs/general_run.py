"""The general phase of a run: who learns from a corpus, in order, and how well that can be seen on text that is held out."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse import layer_maps
from stillhouse.errors import UserError
from stillhouse.evaluation.language import fill_masks, language_scores, masked_accuracy, most_frequent_share
from stillhouse.features import Features
from stillhouse.files import ASSISTANT, GENERAL, GENERAL_ASSISTANT, MASKED_LM_TEACHER, STUDENT
from stillhouse.method import Role, Stage
from stillhouse.models.adapter import layer_count
from stillhouse.models.digest import weights_digest
from stillhouse.models.model import Model
from stillhouse.models.saving import save_model
from stillhouse.runs.general import General, evenly
from stillhouse.runs.layer_distances import layer_distances
from stillhouse.runs.model_card import write_general_card
from stillhouse.runs.outcome import model_entry, plain, stage_entry
from stillhouse.runs.prepared import Learner
from stillhouse.runs.trained_once import TrainedOnce, name_of
from stillhouse.runs.work import Phase, Work
from stillhouse.sealed import CHECKSUMS, read_sealed, write_sealed
from stillhouse.teachers.kept_models import load_kept
from stillhouse.teachers.source import Source
from stillhouse.training.stages import described
from stillhouse.training.trainer import StageResult, stage_steps

RECORD = "general.json"  # in the folder of a kept student: how it came to be, and its scores
EXAMPLES = 12
FOLDERS: dict[Role, str] = {"student": STUDENT, "assistant": ASSISTANT}
GENERAL_FOLDERS: dict[Role, str] = {"student": GENERAL, "assistant": GENERAL_ASSISTANT}


@dataclass(frozen=True)
class GeneralOutcome:
    """What the general phase left.

    Attributes:
        models: By role, trained; the teacher as it taught.
        stages: Every stage that this run trained, in order.
        record: What metrics.json says of it under `general`.
        notes: What was said on the way.
        seconds: What was spent outside of the stages.
    """

    models: dict[Role, Model]
    stages: list[StageResult]
    record: dict[str, Any]
    notes: list[str]
    seconds: float


class GeneralRun(Phase):
    """A run at work on its corpus.

    Args:
        general: What it works with.
        work: What the phases of the run share.
    """

    def __init__(self, general: General, work: Work) -> None:
        models: dict[Role, Model] = {learner.role: learner.model for learner in general.learners}
        if general.teacher is not None:
            models["teacher"] = general.teacher
        super().__init__(work, models)
        self.general, self.config = general, general.config
        self.record: dict[str, Any] = {}
        self.seconds = 0.0

    def go(self) -> GeneralOutcome:
        """Trains every model of the phase, or finds them as an earlier run left them."""
        is_new = self.config.has_new_teacher  # which the task needs, whatever is kept of the student
        if is_new:
            self._fit_teacher()
        if not (self.config.has_task and self._found()):
            if not is_new:
                self._fit_teacher()
            for learner in self.general.learners:
                self._train_learner(learner)
            self.record |= self._whole_record()
            self._save()
        if self.config.has_task:  # which has models of its own
            for model in self.models.values():
                model.encoder.cpu()
        return GeneralOutcome(self.models, self.results, self.record, self.notes, self.seconds)

    def _found(self) -> bool:
        """Whether all that learn have learnt from the same corpus before: then they have the weights that were kept."""
        folders = [self._once(learner).find(self.models[learner.role]) for learner in self.general.learners]
        record = None if folders[-1] is None or None in folders else self._read_record(folders[-1])
        if record is None:
            return False
        for learner, kept in zip(self.general.learners, folders, strict=True):
            assert kept is not None
            model = self.models[learner.role]
            load_kept(kept, model.encoder)
            self.models[learner.role] = replace(model, start=record[learner.role]["start"], is_fresh=False)
        self.record = record
        self.note(f"{self.models['student'].name} has learnt from the same corpus before: it is used again")
        self._save(is_new=False)
        return True

    def _read_record(self, kept: Path) -> dict[str, Any] | None:
        """What was measured of a kept student; where that is damaged the student is deleted, and learns again."""
        try:
            record: dict[str, Any] = read_sealed(kept / RECORD)
            record.pop(CHECKSUMS, None)
            if all("start" in record[learner.role] for learner in self.general.learners):
                return record
        except (OSError, UserError, KeyError, TypeError):
            pass
        self.console.warn(f"  what is kept in {kept} is damaged: it is deleted, and made again")
        if self.accelerator.is_main_process:
            shutil.rmtree(kept, ignore_errors=True)
        return None

    def _once(self, learner: Learner) -> TrainedOnce:
        return self.work.once("students", learner.stages[-1].name, f"{self._name}{learner.role[0]}")

    @cached_property
    def _name(self) -> str:
        """Of everything that decides what is learnt from the corpus."""
        general, config = self.general, self.config
        parts: list[Any] = [general.train.fingerprint(), general.selection.fingerprint(), config.general_seed]
        for learner in general.learners:
            parts += [weights_digest(learner.model.encoder), *map(_decisions, learner.stages)]
            if learner.restart is not None:  # its start from a teacher that is not trained yet decides nothing
                parts += [config.student.model_dump(mode="json", include={"start", "layers", "slice_by"})]
        parts += ["" if general.teacher is None else weights_digest(general.teacher.encoder)]
        if general.fits_teacher:
            parts += [config.teacher.masked_lm.model_dump(mode="json"), config.teacher.seed]
        return name_of(*parts, str(self.accelerator.mixed_precision))

    def _score(self, role: Role) -> float:
        return masked_accuracy(self.models[role].encoder, self.general.selection, self.accelerator)

    def _source(self, role: Role) -> Source:
        model = self.models[role]
        return Source(self.config.teacher, f"{model.name} on {self.general.kept.name}", weights_digest(model.encoder))

    def _train(self, stages: Sequence[Stage], seed: int) -> None:
        selection = self.general.selection.fingerprint()
        self.train(stages, self.general.text_of, self._score, self._source, seed=seed, selection=selection)

    def _fit_teacher(self) -> None:
        """Fits the masked-LM head of a teacher that has none, or takes the one that was fitted on the same text before."""
        stage = self.general.teacher_stage
        if stage is None:
            return
        teacher = self.models["teacher"]
        text = self.general.text_of(stage)
        steps, _ = stage_steps(stage, len(text))
        parts: list[Any] = [weights_digest(teacher.encoder), text.fingerprint(), self.general.selection.fingerprint()]
        parts += [stage.config.model_dump(), self.config.teacher.seed, str(self.accelerator.mixed_precision)]
        once = self.work.once("teachers", stage.name, name_of("masked_lm", *parts))
        why = "learns language" if self.config.has_new_teacher else "has no masked-LM head: it is trained"
        self.console.say(f"teacher {teacher.name} {why} on the corpus first, with all its weights")

        def train() -> None:
            if not once.begun.exists():
                seconds = self._seconds_a_step(teacher, stage) * steps
                self.console.say(f"  {steps:,} steps, about {_time(seconds)}; it is kept for other runs")
            self._train((stage,), self.config.teacher.seed)

        is_kept = once.obtain(teacher, train)
        if is_kept:
            self.console.say("  the same one was trained on the same text before: it is used again")
        teacher.encoder.to(self.accelerator.device).eval()
        folder = self.folder / MASKED_LM_TEACHER
        once.save(folder, lambda path: save_model(teacher.encoder, teacher.tokenizer, path), is_new=not is_kept)
        start = f"{teacher.name}, with a masked-LM head trained on {self.general.kept.name}"
        self.models["teacher"] = replace(teacher, start=start)
        score, floor = self._score("teacher"), most_frequent_share(self.general.selection)
        said = f"teacher: masked accuracy {score:.3f} on held-out text"
        if score <= 1.1 * floor:
            said += f"; warning: hardly better than always giving the most frequent token ({floor:.3f})"
        self.note(said)

    def _seconds_a_step(self, model: Model, stage: Stage) -> float:
        """What a step takes here, forward and backward, from the second of two parts of one."""
        config = stage.config
        parts = config.accumulate * self.accelerator.num_processes
        rows = np.arange(min(math.ceil(config.batch_size / parts), len(self.general.train)))
        batch = self.general.text_of(stage).batch(rows).to(self.accelerator.device)
        encoder, seconds = model.encoder.to(self.accelerator.device), 0.0
        with torch.random.fork_rng(devices=[]):
            side = stage.side.build(encoder, None, stage.student_needs)
            for _ in range(2):
                started = time.perf_counter()
                with self.accelerator.autocast():
                    features = side(batch)
                loss = torch.stack([objective(features, Features(), batch) for objective in stage.objectives]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                float(loss.detach() + next(encoder.parameters()).grad.sum())  # waits for the device
                seconds = time.perf_counter() - started
            side.release()
        encoder.zero_grad(set_to_none=True)
        return config.accumulate * seconds

    def _train_learner(self, learner: Learner) -> None:
        """Trains one model, and measures it before and after on text that is held out."""
        role, started = learner.role, time.perf_counter()
        self.restart(learner)
        before, far = self._language(role), self._distances(role)
        self.seconds += time.perf_counter() - started
        doing = "distilling" if learner.teacher is not None else "training"
        self.console.say(f"{doing} {self.models[role].name} on {self.general.kept.name}")
        self._train(learner.stages, self.config.general_seed)
        started = time.perf_counter()
        self.record[role] = model_entry(self.models[role], self._language(role)) | {"before": before}
        if role == "student":
            far_and_near = zip(far, self._distances(role), strict=True)
            self.record["layers"] = [_moved(before, after) for before, after in far_and_near]
        self.seconds += time.perf_counter() - started

    def _language(self, role: Role) -> dict[str, float | None]:
        """What a model says of masked tokens, beside the teacher; nothing where no head is trained for that."""
        if not self.general.has_head:
            return dict.fromkeys(("score", "perplexity", "agreement", "kl"))
        teacher = self.models.get("teacher") if role != "teacher" else None
        device, validation = self.accelerator.device, self.general.validation
        encoder, other = self.models[role].encoder.to(device), None if teacher is None else teacher.encoder.to(device)
        found = asdict(language_scores(encoder, validation, self.accelerator, teacher=other))
        return {"score": found.pop("masked_accuracy"), **found}

    def _distances(self, role: Role) -> list[dict[str, float | None]]:
        """How far each layer of the student is from the teacher's at the same share of the depth."""
        if role != "student" or "teacher" not in self.models:
            return []
        own, its = (self.models[one].encoder.to(self.accelerator.device) for one in (role, "teacher"))
        pairs = [(0, 0), *enumerate(layer_maps.uniform(layer_count(own.config), layer_count(its.config)), 1)]
        return layer_distances(own, its, self.general.compared, pairs, self.accelerator)

    def _whole_record(self) -> dict[str, Any]:
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
            "layers": self.record.get("layers", []),
            "examples": self._examples(),
            "stages": [stage_entry(stage) for stage in self.results],
            "notes": [*general.notes, *self.notes],
        }
        if "teacher" in self.models:
            said = self._language("teacher")
            record["teacher"] = model_entry(self.models["teacher"], {name: said[name] for name in ("score", "perplexity")})
        self.seconds += time.perf_counter() - started
        return record

    def _examples(self) -> list[dict[str, Any]]:
        """A few masked sentences with what the models say of them."""
        if not (self.general.has_head and self.accelerator.is_main_process):
            return []
        text = self.general.validation
        rows = evenly(len(text), EXAMPLES)
        roles = [role for role in self.models if role in ("teacher", "student")]
        models = {str(role): self.models[role].encoder for role in roles}
        return fill_masks(models, text, rows.tolist(), self.models["student"].tokenizer, self.accelerator)

    def _save(self, *, is_new: bool = True) -> None:
        """Writes what the phase leaves; where a task follows it is kept for other runs, too."""
        folders = GENERAL_FOLDERS if self.config.has_task else FOLDERS
        for learner in self.general.learners:
            self._once(learner).save(
                self.folder / folders[learner.role],
                partial(self._write, learner),
                is_new=is_new and self.config.has_task,
            )

    def _write(self, learner: Learner, path: Path) -> None:
        model = self.models[learner.role]
        save_model(model.encoder, model.tokenizer, path)
        write_general_card(path, self.general, model)
        if self.config.has_task:
            write_sealed(path / RECORD, plain(self.record), [])


def _decisions(stage: Stage) -> list[Any]:
    """All of a stage that decides what comes out of it."""
    masking = None if stage.masking is None else stage.masking.model_dump(mode="json")
    return [*described(stage), masking, asdict(stage.trained), stage.dropout]


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """How far a layer was from its teacher's, and how far it is now."""
    measures = [name for name in before if name not in ("student", "teacher")]
    told = {name: {measure: row[measure] for measure in measures} for name, row in (("before", before), ("after", after))}
    return {"own": before["student"], "its": before["teacher"], **told}


def _time(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
