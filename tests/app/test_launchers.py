"""Sweeps beyond one process, for real: joblib, a local Ray cluster of two workers, and Slurm on one
node.

Slurm's daemons come from Debian (apt install slurmctld slurmd slurm-client munge) and are started
here, in a folder of the test's own; the launchers from requirements-launchers.lock (make
launchers). What is missing is skipped.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from getpass import getuser
from pathlib import Path

import pytest

from tadrop.results import record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo", "squeue")
JOBS = (
    "merge=average,ties",
    "tadrop=off",
    "tasks.names=[hebrew,braille]",
    "limit=24",
    "device=cpu",
)


def needs(*modules):
    """Skips a test whose extra is not installed."""
    for module in modules:
        pytest.importorskip(module, reason=f"no {module}: make launchers installs it")


def sweep(repository, folder, *overrides, **environment):
    """Runs the sweep as a user does; returns its records by row."""
    places = (f"paths.records={folder}/records", f"paths.cache={folder}/cache")
    command = [sys.executable, "run.py", "-m", *JOBS, *places, *overrides]
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        command,
        cwd=repository,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        r["config"]["merge"]["name"]: r for r in record.read_all(folder / "records")
    }


def check(records, threads):
    assert set(records) == {"average", "ties", "individual", "pretrained"}
    assert {r["threads"] for r in records.values()} == {threads}
    assert records["average"]["scores"] != records["pretrained"]["scores"]


def test_joblib_shares_the_cores(repository, tmp_path):
    needs("hydra_plugins.hydra_joblib_launcher")
    records = sweep(
        repository, tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    )
    check(records, max(len(os.sched_getaffinity(0)) // 2, 1))


def test_joblib_runs_a_board_whose_rows_declare_it(repository, tmp_path):
    """A worker is a process of its own, to which `rows_of` must be known."""
    needs("hydra_plugins.hydra_joblib_launcher")
    two = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    records = sweep(repository, tmp_path, "+board=leaderboard", *two)
    check(records, max(len(os.sched_getaffinity(0)) // 2, 1))


def test_two_joblib_workers_share_a_sweep_and_a_second_call_finds_it_done(
    repository, tmp_path
):
    needs("hydra_plugins.hydra_joblib_launcher")
    words = [
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "merge=average,task_arithmetic",
        "tadrop=off,on",
    ]
    words += [
        "limit=20",
        "tasks.names=[hebrew,braille]",
        f"paths.records={tmp_path}",
        f"paths.cache={tmp_path}/cache",
    ]

    def call():
        return subprocess.run(
            [sys.executable, "run.py", "-m", *words],
            cwd=repository,
            capture_output=True,
            text=True,
        )

    first = call()
    assert first.returncode == 0, first.stderr
    for title in (
        "Individual",
        "Pretrained",
    ):  # both workers need them; one makes them, the other waits
        assert (first.stdout + first.stderr).count(f"running {title} (") == 1
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(record.read_all(tmp_path)) == 6
    assert not list(tmp_path.glob(".*"))
    assert call().returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == made


def test_a_sweep_of_workers_ends_with_its_table_and_what_failed_in_a_line(
    repository, tmp_path
):
    needs("hydra_plugins.hydra_joblib_launcher")
    words = ["merge=average,slerp", "tadrop=off", "limit=20"]
    words += ["tasks.names=[hebrew,braille,math]", f"paths.results={tmp_path}"]
    words += [f"paths.cache={tmp_path}/cache", "hydra/launcher=joblib"]
    done = subprocess.run(
        [sys.executable, "run.py", *words, "-m", "hydra.launcher.n_jobs=2"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: slerp interpolates two models and got 3" in done.stderr
    table = done.stdout.partition("glyph_vit, 3 tasks")[2]
    titles = ("Individual", "Pretrained", "Weight Averaging")
    assert all(title in table for title in titles), done.stdout


def test_a_local_ray_cluster_of_two_workers(repository, tmp_path):
    needs("hydra_plugins.hydra_ray_launcher", "ray")
    two = (
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.remote.num_cpus=1",
    )
    # and nothing is reported to Ray's authors
    alone = "+hydra.launcher.ray.init.include_dashboard=false"
    check(
        sweep(repository, tmp_path, *two, alone, RAY_USAGE_STATS_ENABLED="0"), threads=1
    )


@contextmanager
def daemon(command, environment, log):
    """A process of the test's own while the block lasts."""
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def slurm_conf(folder, munge):
    host, cores = socket.gethostname(), len(os.sched_getaffinity(0))
    facts = {
        "ClusterName": "tadrop",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": getuser(),
        "SlurmdUser": getuser(),
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge}",
        "SlurmctldPort": free_port(),
        "SlurmdPort": free_port(),
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "ReturnToService": 2,
        "KillWait": 2,  # seconds that a cancelled job has to end by itself
        "MailProg": "/bin/true",
    }
    lines = [f"{key}={value}" for key, value in facts.items()]
    lines.append(
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN"
    )
    return "\n".join(
        [
            *lines,
            "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
            "",
        ]
    )


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """A cluster of this one node while the block lasts, as the environment in which Slurm's
    commands talk to it.

    The queue is emptied before the daemons stop: a job that outlives them would wait for them for
    good.
    """
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if missing := [name for name in SLURM if shutil.which(name, path=path) is None]:
        pytest.skip(
            f"no {', '.join(missing)}: apt install slurmctld slurmd slurm-client munge"
        )
    folder = Path(
        tempfile.mkdtemp(prefix="slurm.")
    )  # not pytest's: sockets need short paths
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    try:
        with ExitStack() as running:
            for name, command in daemons(folder).items():
                running.enter_context(
                    daemon(command, environment, folder / f"{name}.out")
                )
                time.sleep(1)
            wait_for_idle(environment, folder)
            running.callback(empty_queue, environment)
            yield environment
    finally:
        kill_left(environment["SLURM_CONF"])
        shutil.rmtree(folder, ignore_errors=True)


def daemons(folder: Path) -> dict[str, list[str]]:
    """Writes what Slurm's daemons read into a folder; returns their commands in the order of their
    start.
    """
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text(slurm_conf(folder, munge))
    own = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    return {
        "munged": [
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={munge}",
            *own,
        ],
        "slurmctld": ["slurmctld", "-D"],
        "slurmd": ["slurmd", "-D", "-N", socket.gethostname()],
    }


def asked(environment: dict[str, str], *command: str) -> str:
    """What one of Slurm's commands says."""
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def empty_queue(environment: dict[str, str]) -> None:
    """Cancels every job and waits until all have ended, at most half a minute."""
    asked(environment, "scancel", f"--user={getuser()}")
    for _ in range(60):
        if not asked(environment, "squeue", "--noheader").strip():
            return
        time.sleep(0.5)


def processes(conf: str) -> list[int]:
    """Every process started for the cluster of this configuration file: its daemons, steps and
    jobs.
    """
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended meanwhile, or another user's
            if f"SLURM_CONF={conf}".encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
    return found


def kill_left(conf: str) -> None:
    """Kills what a cluster has left, for a job that would not end or a test that ran out of time."""  # noqa: E501
    for _ in range(50):
        left = processes(conf)
        if not left:
            return
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def wait_for_idle(environment: dict[str, str], folder: Path) -> None:
    for _ in range(60):
        said = asked(environment, "sinfo", "-h", "-o", "%T")
        if "idle" in said:
            return
        time.sleep(0.5)
    logs = "\n".join(
        f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.glob("*.out"))
    )
    pytest.fail(f"the node did not come up: {said}\n{logs}")


@pytest.fixture
def slurm():
    needs("hydra_plugins.hydra_submitit_launcher")
    with cluster() as environment:
        yield environment


def test_slurm_runs_one_job_for_each_run(repository, tmp_path, slurm):
    small = (
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=1",
        "hydra.launcher.timeout_min=10",
    )
    launcher = (
        "hydra/launcher=slurm",
        *small,
        f"hydra.launcher.submitit_folder={tmp_path}/slurm/%j",
    )
    changed = {name: slurm[name] for name in ("SLURM_CONF", "PATH")}
    check(sweep(repository, tmp_path, *launcher, **changed), threads=1)
    assert len(list((tmp_path / "slurm").glob("*_[01]"))) == 2
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    sweep(
        repository, tmp_path, *launcher, **changed
    )  # the same command again owes nothing
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()
    } == made


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_the_cluster_leaves_no_process_behind(trap, tmp_path):
    with cluster() as environment:
        conf, started = environment["SLURM_CONF"], tmp_path / "started"
        body = f"{trap}touch {started}; sleep 590"
        log = f"--output={tmp_path}/log"
        for _ in range(len(os.sched_getaffinity(0)) + 1):  # one more than can run
            asked(
                environment,
                "sbatch",
                log,
                "--mem=10",
                f"--wrap=srun --mem=10 sh -c {shlex.quote(body)}",
            )
        until = time.monotonic() + 60
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert started.exists(), asked(environment, "squeue")
        assert len(processes(conf)) > 5  # three daemons, a step and its job
    assert not processes(conf)
    assert not Path(conf).parent.exists()
