"""The runs of one process, from configuration to folder: they share its engine, its console and the teachers that they fit."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse.config import EngineConfig
from stillhouse.console import Console
from stillhouse.files import CHECKPOINTS, REPORT, STUDENT, TRACKERS
from stillhouse.machine.engine import build_accelerator, is_first_process
from stillhouse.machine.memory import forget_peak_memory
from stillhouse.machine.versions import untested_transformers
from stillhouse.report import summary_lines, time_lines, write_report
from stillhouse.runs.checks import bytes_needed, check_space
from stillhouse.runs.defaults import with_defaults, with_precision
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.general import General
from stillhouse.runs.general_outcome import write_general_outcome
from stillhouse.runs.general_run import GeneralRun
from stillhouse.runs.outcome import write_outcome
from stillhouse.runs.prepare import prepare
from stillhouse.runs.prepare_general import prepare_general
from stillhouse.runs.run import StagedRun
from stillhouse.runs.run_config import RunConfig
from stillhouse.runs.run_folder import RunFolder
from stillhouse.runs.work import Work


class Session:
    """Runs one after the other; the engine ends with it.

    Args:
        console: What the runs say goes there.
        teachers: Where they keep the teachers that they fit, for each other; None = there is one run.
    """

    def __init__(self, console: Console, *, teachers: Path | None = None) -> None:
        self.console, self.teachers = console, teachers
        self._accelerator: Any = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._accelerator is not None:
            self._accelerator.trackers = []  # every run has finished its own
            self._accelerator.end_training()

    def engine(self, config: EngineConfig, folder: Path | None = None) -> Any:
        """The engine of a run; see `build_accelerator`. Only the first of several processes speaks."""
        self._accelerator = build_accelerator(config, folder)
        if not self._accelerator.is_main_process:
            self.console = Console(quiet=True)
        return self._accelerator

    def run(self, config: RunConfig, *, overwrite: bool = False) -> RunFolder:
        """Runs a configuration to its end, from where it was interrupted; a finished run is shown and left alone.

        Args:
            config: The run.
            overwrite: Delete the run that is in the folder.

        Raises:
            UserError: A mistake in what was given; nothing has been trained or written.
            TrainingDiverged: A loss became NaN; the last good checkpoint is kept.
        """
        config = with_defaults(config)
        folder = RunFolder(Path(str(config.out)))
        folder.check(config, overwrite=overwrite)
        if folder.is_finished and not overwrite:
            if is_first_process():
                self._show_finished(folder)
            return folder
        accelerator = self.engine(config.engine, folder / TRACKERS)
        if (warning := untested_transformers()) is not None:
            self.console.warn(warning)
        started = time.perf_counter()
        prepared = prepare(config) if config.has_task else None  # first: a corpus may take long
        general = self.general(config)
        whole = prepared.config if prepared is not None else with_precision(config)
        preparing = time.perf_counter() - started
        if accelerator.is_main_process:  # which makes the folder, perhaps while another process is still on its way here
            folder.check(whole, overwrite=overwrite)
        if (folder / CHECKPOINTS).exists() and not overwrite:
            self.console.say("an unfinished run is here: it goes on from its last checkpoint")
        for note in (*(general.notes if general is not None else ()), *(prepared.notes if prepared is not None else ())):
            self.console.say(f"  {note}")
        forget_peak_memory()
        work = Work(accelerator, whole.engine, folder, self.console, self.teachers)
        run = None if prepared is None else StagedRun(prepared, work)
        if run is not None:
            run.check_given_teacher()
        if accelerator.is_main_process:
            refuse_first(check_space(bytes_needed(prepared, general), folder.path))
            folder.create(whole, overwrite=overwrite)
        accelerator.wait_for_everyone()
        if accelerator.log_with:
            accelerator.init_trackers("stillhouse", {"run": str(folder.path)})
        try:
            learnt = None if general is None else GeneralRun(general, work).go()
            if run is not None:
                outcome = run.go(learnt)
                outcome.seconds["preparing"] = preparing
                if accelerator.is_main_process:
                    write_outcome(folder, run.prepared, outcome, accelerator)
            elif accelerator.is_main_process and general is not None and learnt is not None:
                write_general_outcome(folder, general, learnt, {"preparing": preparing}, accelerator)
            if accelerator.is_main_process:
                write_report(folder.path)
                folder.forget_checkpoints()
            accelerator.wait_for_everyone()
        finally:
            self.console.close()
            for tracker in accelerator.trackers:
                tracker.finish()
            folder.release()
        self._show(folder)
        return folder

    def general(self, config: RunConfig) -> General | None:
        """The general phase of a run that has a corpus, which the first of several processes prepares.

        Raises:
            UserError: As `prepare_general`.
        """
        if not config.corpus.source:
            return None
        is_first = self._accelerator.is_main_process
        if not is_first:
            self._accelerator.wait_for_everyone()
        try:
            return prepare_general(config.on_corpus, say=self.console.warn, report=self.console.scoring)
        finally:  # the others find the same mistake by themselves
            if is_first:
                self._accelerator.wait_for_everyone()

    def _show_finished(self, folder: RunFolder) -> None:
        folder.check_part(STUDENT)
        if not (folder / REPORT).exists():
            write_report(folder.path)
        folder.forget_checkpoints()  # a kill may have come before they were deleted
        self.console.say("this run is finished; --overwrite runs it again, another --out keeps both\n")
        self._show(folder)

    def _show(self, folder: RunFolder) -> None:
        """The result in words, and where the report is."""
        metrics = folder.result()
        for line in [*summary_lines(metrics), *time_lines(metrics)]:
            self.console.say(line)
        self.console.say(f"\nstudent: {folder / STUDENT}\nreport:  {folder / REPORT}")
