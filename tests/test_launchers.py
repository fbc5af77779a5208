"""Sweeps beyond one process, for real: joblib, a local Ray cluster of two workers, and Slurm on one node.

Slurm's daemons come from Debian (apt install slurmctld slurmd slurm-client munge) and are started here, in a folder of
the test's own; the launchers from the extras joblib, ray and slurm. What is missing is skipped.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from getpass import getuser
from pathlib import Path

import pytest

from tadrop import record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
JOBS = ("merge=average,ties", "tadrop=off", "tasks.names=[hebrew,braille]", "limit=24", "device=cpu")


def needs(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def sweep(repository, folder, *overrides, **environment):
    """Runs the sweep as a user does; returns its records by row."""
    places = (f"paths.records={folder}/records", f"paths.cache={folder}/cache")
    command = [sys.executable, "run.py", "-m", *JOBS, *places, *overrides]
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        command, cwd=repository, env=clean | environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {r["config"]["merge"]["name"]: r for r in record.read_all(folder / "records")}


def check(records, threads):
    assert set(records) == {"average", "ties", "individual", "pretrained"}
    assert {r["threads"] for r in records.values()} == {threads}
    assert records["average"]["scores"] != records["pretrained"]["scores"]


def test_joblib_shares_the_cores(repository, tmp_path):
    needs("hydra_plugins.hydra_joblib_launcher")
    records = sweep(repository, tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    check(records, max(len(os.sched_getaffinity(0)) // 2, 1))


def test_a_local_ray_cluster_of_two_workers(repository, tmp_path):
    needs("hydra_plugins.hydra_ray_launcher", "ray")
    two = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.remote.num_cpus=1")
    check(sweep(repository, tmp_path, *two), threads=1)


@contextmanager
def daemon(command, environment, log):
    """A process of the test's own while the block lasts."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
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
        "MailProg": "/bin/true",
    }
    lines = [f"{key}={value}" for key, value in facts.items()]
    lines.append(f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN")
    return "\n".join([*lines, "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP", ""])


@pytest.fixture
def slurm():
    """The environment in which Slurm's commands talk to a cluster of this one node."""
    needs("hydra_plugins.hydra_submitit_launcher")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if missing := [name for name in DAEMONS if shutil.which(name, path=path) is None]:
        pytest.skip(f"no {', '.join(missing)}: apt install slurmctld slurmd slurm-client munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm."))  # not pytest's: sockets need short paths
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text(slurm_conf(folder, munge))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    own = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}", *own]
    try:
        with ExitStack() as running:
            for name, command in {
                "munged": munged,
                "slurmctld": ["slurmctld", "-D"],
                "slurmd": ["slurmd", "-D", "-N", socket.gethostname()],
            }.items():
                running.enter_context(daemon(command, environment, folder / f"{name}.out"))
                time.sleep(1)
            wait_for_idle(environment, folder)
            yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_idle(environment, folder):
    for _ in range(60):
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
        if "idle" in done.stdout:
            return
        time.sleep(0.5)
    logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.glob("*.out")))
    pytest.fail(f"the node did not come up: {done.stdout}{done.stderr}\n{logs}")


def test_slurm_runs_one_job_for_each_run(repository, tmp_path, slurm):
    small = ("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=10")
    launcher = ("hydra/launcher=slurm", *small, f"hydra.launcher.submitit_folder={tmp_path}/slurm/%j")
    changed = {name: slurm[name] for name in ("SLURM_CONF", "PATH")}
    check(sweep(repository, tmp_path, *launcher, **changed), threads=1)
    assert len(list((tmp_path / "slurm").glob("*_[01]"))) == 2
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    sweep(repository, tmp_path, *launcher, **changed)  # the same command again owes nothing
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()} == made
