"""The progress of a sweep: jobs are counted as Hydra's sweeper makes them, and by what became of
them.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf, open_dict

from tadrop.app import console
from tadrop.app.boards.board import Board
from tadrop.app.places import CONF
from tadrop.app.progress import SETTLED, SweepProgress, jobs
from tadrop.results import record


def composed(*words):
    return compose("config", list(words), return_hydra_config=True)


@pytest.fixture
def hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def sweep_of(cfg, words):
    """A configuration as a sweep's start sees it."""
    with open_dict(cfg):
        cfg.hydra.overrides.task = list(words)
    return cfg


def test_jobs_are_counted_as_the_sweeper_makes_them(hydra):
    assert (
        jobs(
            sweep_of(composed(), ["merge=ties,emr", "tadrop=off,on,uniform", "seed=0"])
        )
        == 6
    )
    demo = composed("+board=demo")
    assert jobs(sweep_of(demo, ["+board=demo"])) == len(Board("demo").overrides)
    words = ["+board=leaderboard", "tasks=glyph2"]
    every = Board("leaderboard", ("tasks=glyph2",)).overrides
    assert jobs(sweep_of(composed(*words), words)) == len(every)
    with open_dict(demo):
        demo.hydra.sweeper["_target_"] = "somewhere.OptunaSweeper"
    assert jobs(demo) is None


def test_what_became_of_the_jobs(hydra, tmp_path, capsys):
    progress = SweepProgress()
    progress.on_multirun_start(sweep_of(composed(), ["merge=average,ties,emr"]))
    seen = []
    for number, (row, status) in enumerate(
        (
            ("average", JobStatus.COMPLETED),
            ("ties", JobStatus.FAILED),
            ("emr", JobStatus.COMPLETED),
        )
    ):
        cfg = composed(f"merge={row}", f"paths.records={tmp_path}")
        with open_dict(cfg):
            cfg.hydra.job.num = number
            cfg.hydra.runtime.choices = {}
        if row == "emr":
            job = OmegaConf.to_container(
                compose("config", [f"merge={row}", f"paths.records={tmp_path}"]),
                resolve=True,
            )
            record.path(tmp_path, job).write_text("{}")
        progress.on_job_start(cfg)
        seen.append(console.position.get())
        with console.stages(row):
            pass
        with (
            pytest.raises(SystemExit) if number == 2 else nullcontext()
        ):  # Hydra is not to tell of a failure again
            progress.on_job_end(cfg, SimpleNamespace(status=status))
    assert seen[2] == console.Position(3, 3, {"done": 1, "failed": 1})
    assert console.position.get() is None
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["running average (job 1 of 3)", "running ties (job 2 of 3)"]
    assert (
        told[-1]
        == "sweep: 3 jobs: 1 done, 1 skipped, 1 failed; the same command runs what failed again"
    )


def test_workers_take_a_gpu_each_and_keep_it(hydra, monkeypatch):
    """Of two, by their first job: 0, 1, 0, ...; the process that started the sweep does not change
    its own.
    """
    taken = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    progress = SweepProgress()
    progress.on_multirun_start(sweep_of(composed(), ["merge=average,ties,emr"]))
    cfg = composed("merge=average")
    started_in, workers = progress.process, (11, 12, 13)
    for process, number in ((started_in, 0), (11, 0), (12, 1), (13, 2), (11, 3)):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        with open_dict(cfg):
            cfg.hydra.job.num = number
            cfg.hydra.runtime.choices = {}
        progress.on_job_start(cfg)
    console.position.set(None)
    assert taken == [0, 1, 0]
    SETTLED.difference_update(workers)


def test_one_run_is_no_sweep(hydra, capsys):
    progress = SweepProgress()
    progress.on_job_start(composed())
    progress.on_job_end(composed(), SimpleNamespace(status=JobStatus.COMPLETED))
    assert console.position.get() is None
    assert capsys.readouterr().err == ""


def test_a_board_for_another_number_of_tasks_ends_the_command(hydra):
    words = ["+board=table_14", "tasks=glyph8"]
    with pytest.raises(
        SystemExit, match="error: this board is for 14 tasks, and glyph8"
    ):
        SweepProgress().on_multirun_start(sweep_of(composed(*words), words))
