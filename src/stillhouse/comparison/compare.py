"""Runs a comparison: the rows that are missing, one run folder each; a run that fails takes no other along."""

from __future__ import annotations

import shutil
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from stillhouse.comparison.compare_config import CompareConfig
from stillhouse.comparison.folder import ComparisonFolder
from stillhouse.comparison.plan import Line, Plan, comparison_out, make_plan
from stillhouse.comparison.record import ComparisonProgress, Key, Record
from stillhouse.comparison.wording import in_comparison
from stillhouse.config import BASELINE_METHOD
from stillhouse.console import Console
from stillhouse.errors import CheckpointError, StillhouseError, UserError
from stillhouse.files import (
    COMPARED_RUNS,
    COMPARISON,
    COMPARISON_TABLE,
    INPUTS,
    REPORT,
    SHARED_TEACHERS,
    STUDENT,
    TEACHER,
    write_text,
)
from stillhouse.machine.engine import check_trackers, is_first_process
from stillhouse.report import comparison_markdown, comparison_text, write_comparison_report
from stillhouse.runs.checks import check_teacher
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.runs.run_folder import RunFolder
from stillhouse.runs.session import Session
from stillhouse.sealed import write_sealed


def execute_comparison(config: CompareConfig, console: Console, *, overwrite: bool = False) -> ComparisonFolder:
    """Runs what is missing of a comparison; a finished one is shown and left alone.

    Raises:
        UserError: A mistake in what was given; what was finished stays.
        StillhouseError: Not one method's run was finished.
    """
    folder = ComparisonFolder(comparison_out(config))
    folder.check(config, overwrite=overwrite)
    if folder.is_finished and not overwrite:
        if is_first_process():
            _tell(folder)
        else:
            console = Console(quiet=True)
        console.say("this comparison is finished; --overwrite runs it again, another --out keeps both\n")
    else:
        check_trackers(config.engine.trackers)
        with Session(console.only_progress(), teachers=folder / SHARED_TEACHERS) as session:
            accelerator = session.engine(config.engine.model_copy(update={"trackers": ()}))
            if not accelerator.is_main_process:
                console = Console(quiet=True)
            is_new = overwrite or not (folder / INPUTS).exists()
            if not is_new and (folder / COMPARISON).exists():
                folder.check_part(TEACHER)  # the next record takes it as it is
            check = partial(_check_teacher, accelerator, console) if is_new else None
            plan = make_plan(config, console, session.general, check_teacher=check)
            if not is_new:
                folder.check_inputs(plan.inputs)
            _Comparison(config, plan, folder, console, session, accelerator).go(overwrite=overwrite)
    results = folder.result()
    console.say(comparison_text(results))
    console.say(f"table:  {folder / COMPARISON_TABLE}\nreport: {folder / REPORT}")
    if not any(row["status"] == "done" and row["method"] != BASELINE_METHOD for row in results["rows"]):
        raise StillhouseError(f"not one method's run was finished; the reasons are in {folder / COMPARISON}")
    return folder


def _check_teacher(accelerator: Accelerator, console: Console, prepared: Prepared) -> None:
    console.say("  scoring the teacher on the selection rows")
    refuse_first(check_teacher(prepared, accelerator))


def _tell(folder: ComparisonFolder) -> None:
    """Table and page, made from the record."""
    write_text(folder / COMPARISON_TABLE, comparison_markdown(folder.result()))
    write_comparison_report(folder.path)


class _Comparison:
    """The runs of a comparison in order: first the tries of every line on the first seed, then the other seeds.

    Methods come before baselines: a teacher that knows nothing is met before anything has been trained in vain.
    """

    def __init__(
        self,
        config: CompareConfig,
        plan: Plan,
        folder: ComparisonFolder,
        console: Console,
        session: Session,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.plan, self.folder, self.console = config, plan, folder, console
        self.session, self.accelerator = session, accelerator
        self.lines = sorted((line for line in plan.lines if not line.refusal), key=lambda line: line.baseline is None)
        self.progress = ComparisonProgress()
        self.tries: tuple[float | None, ...] = config.grid or (None,)
        self.runs = len(self.lines) * (len(self.tries) + len(config.seeds) - 1)
        self.number = 0

    def go(self, *, overwrite: bool) -> None:
        for note in self.plan.notes:
            self.console.say(f"  {note}")
        self.console.say(f"  {len(self.lines)} lines, {self.runs} runs")
        if self.accelerator.is_main_process:
            self.folder.create(self.config, overwrite=overwrite)
            write_sealed(self.folder / INPUTS, self.plan.inputs)
        self.accelerator.wait_for_everyone()
        first, *others = self.config.seeds
        try:
            self._take_finished()
            for line in self.lines:
                for rate in self.tries:
                    self._run(line, first, rate)
                self._choose(line, first)
            for seed in others:
                for line in self.lines:
                    if line.folder in self.progress.rates:
                        self._run(line, seed, self.progress.rates[line.folder])
                    else:  # not one of its tries was finished
                        self.number += 1
            self._write(with_pairs=True, is_complete=True)
        except BaseException:  # Ctrl-C too: people want to see what there is so far
            if self.progress.done:
                self.console.say("  stopped: writing the table of what is finished")
                with suppress(StillhouseError, OSError):  # the reason for the stop is what they have to be told
                    self._record(with_pairs=True)
            raise
        finally:
            self.folder.release()

    def _take_finished(self) -> None:
        """What an earlier start has finished: no record that is written from now on is poorer than the one before."""
        first = self.config.seeds[0]
        for line in self.lines:
            runs = {(seed, rate): self._folder(line, seed, rate) for rate in self.tries for seed in self.config.seeds}
            for (seed, rate), run in runs.items():
                if run.is_finished:
                    with in_comparison(line.method):
                        self._take((line.folder, seed, rate), run)
            tried = [runs[first, rate] for rate in self.tries]
            if all(run.is_finished or _failure(run).exists() for run in tried):
                self._choose(line, first)

    def _config(self, line: Line, seed: int, rate: float | None) -> RunConfig:
        return line.run(seed, rate, str(self.folder / COMPARED_RUNS))

    def _folder(self, line: Line, seed: int, rate: float | None) -> RunFolder:
        return RunFolder(Path(str(self._config(line, seed, rate).out)))

    def _run(self, line: Line, seed: int, rate: float | None) -> None:
        """One run, if it is missing; one that fails is noted, and the others go on."""
        self.number += 1
        key: Key = (line.folder, seed, rate)
        if key in self.progress.done:
            return
        run = self._folder(line, seed, rate)
        said = f"[{self.number}/{self.runs}] {line.folder}, seed {seed}"
        self.console.say(said + ("" if rate is None else f", learning rate {rate:g}"))
        try:
            with in_comparison(line.method):
                self.session.run(self._config(line, seed, rate))
                self._take(key, run)
        except Exception as error:  # whatever it is
            if isinstance(error, UserError) and not isinstance(error, CheckpointError):
                raise  # not this run's alone: no space, a teacher that knows nothing
            reason = str(error) if isinstance(error, StillhouseError) else f"{type(error).__name__}: {error}"
            self.console.say(f"  failed: {reason}")
            self.progress.failed[key] = reason
            if self.accelerator.is_main_process:
                write_text(_failure(run), traceback.format_exc())
        self._write()

    def _take(self, key: Key, run: RunFolder) -> None:
        self._tidy(run)
        metrics = run.result()
        self.progress.done[key] = run
        self.progress.selection[key] = metrics["stages"][-1]["selection"]
        for note in metrics["notes"]:
            if note.startswith("teacher ") and note not in self.progress.notes:
                self.progress.notes.append(note)
                self.console.say(f"  {note}")

    def _choose(self, line: Line, seed: int) -> None:
        """The rate with the best score on the selection rows, the lowest of equals; the other students are dropped."""
        if len(self.tries) == 1:
            self.progress.rates[line.folder] = self.tries[0]
            return
        keys = [key for rate in self.tries if (key := (line.folder, seed, rate)) in self.progress.done]
        scores = {key[2]: self.progress.selection[key] or 0.0 for key in keys}
        if not scores:
            return
        best = max(scores, key=scores.__getitem__)
        if self.progress.rates.get(line.folder) != best:  # else an earlier start's runs have said so
            self.console.say(f"  {line.folder}: learning rate {best:g}, {scores[best]:.4f} on the selection rows")
        self.progress.rates[line.folder] = best
        for rate in scores:
            if rate != best and self.accelerator.is_main_process:
                shutil.rmtree(self.progress.done[line.folder, seed, rate] / STUDENT, ignore_errors=True)

    def _tidy(self, run: RunFolder) -> None:
        """Keeps one copy of the teacher, which all runs share."""
        if not self.accelerator.is_main_process:
            return
        _failure(run).unlink(missing_ok=True)
        run.forget_checkpoints()
        kept = self.folder / TEACHER
        if (run / TEACHER).exists():
            if kept.exists():
                shutil.rmtree(run / TEACHER)
            else:
                (run / TEACHER).rename(kept)

    def _write(self, *, with_pairs: bool = False, is_complete: bool = False) -> None:
        self._record(with_pairs=with_pairs, is_complete=is_complete)
        self.accelerator.wait_for_everyone()

    def _record(self, *, with_pairs: bool, is_complete: bool = False) -> None:
        """Writes what is finished so far.

        Args:
            with_pairs: With what takes a moment to make: intervals, table and report.
            is_complete: Whether there is nothing left to run.
        """
        if not self.accelerator.is_main_process:
            return
        options = {"with_pairs": with_pairs, "is_complete": is_complete}
        record = Record(self.config, self.plan, self.progress, self.folder, **options)
        self.folder.write_result(record.content(), [TEACHER])
        if with_pairs:
            _tell(self.folder)


def _failure(run: RunFolder) -> Path:
    """Where the traceback of a failed run is, beside its folder."""
    return run.path.with_name(f"{run.path.name}.failed.txt")
