"""Profiles for queues and for several GPUs: each job's resources, requests to a queue, receivers of signals."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dags import ROOT, copy_project, environment, write_params

from afigan.params.loading import compose

sys.path.append(str(ROOT / "workflow/scripts"))
import _gpus

PROFILES = ("slurm", "local", "kubernetes")
TRAINING = {
    "backbone": "train_backbone",
    "train_afigan": "train_afigan",
    "train_extractor": "train_extractor",
    "train_detector": "train_detector",
    "train_student": "train_detector",
}
OTHERS = {"prepare", "pairs", "evaluate", "pseudo_labels", "submit", "benchmark", "figures", "tables"}
NO_GPU = {"prepare", "pairs", "tables"}
# numbers that differ, so that no two can be confused
SETTINGS = {"device": "cuda", "processes": 2, "threads": 3}
WORKERS = {"train_backbone": 1, "train_afigan": 2, "train_extractor": 3, "train_detector": 5, "pairs": 7}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every rule has a job."""
    folder = copy_project(tmp_path_factory.mktemp("profiles"), "smoke")
    values = compose("smoke", ROOT / "conf") | SETTINGS
    for section, workers in WORKERS.items():
        values[section]["workers"] = workers
    write_params(folder, values)
    return folder


@functools.cache  # each takes seconds
def dry_run(root: Path, profile: str, *arguments: str) -> subprocess.CompletedProcess:
    command = ["snakemake", "-n", "--workflow-profile", f"workflow/profiles/{profile}", *arguments]
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)


def resources(text: str) -> dict[str, dict[str, str]]:
    """Return rule -> resource -> value, of each rule's first job that a dry run lists."""
    found: dict[str, dict[str, str]] = {}
    for job in re.split(r"\n(?=rule )", text)[1:]:
        rule = job.partition(":")[0].removeprefix("rule ")
        line = re.search(r"^    resources: (.*)$", job, re.MULTILINE)
        assert line, job
        found.setdefault(rule, dict(part.split("=", 1) for part in re.split(r", (?=\w+=)", line[1])))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_every_job_says_what_it_needs(root, profile):
    # a job never takes more than there are: --resources caps what it asks for
    done = dry_run(root, profile, *(["--resources", "gpu=4"] if profile == "local" else []))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"workflow/profiles/{profile}" in done.stderr  # in place of profiles/default
    rules = resources(done.stdout)
    assert rules.keys() - {"all"} == OTHERS | TRAINING.keys()
    for rule in OTHERS:
        needs = rules[rule]
        assert int(needs["gpu"]) == (rule not in NO_GPU), rule
        assert int(needs["cpus_per_task"]) == (7 if rule in ("prepare", "pairs") else 3), rule
        assert int(needs["mem_mb"]) >= 4000 and int(needs["runtime"]) >= 60, rule
    for rule, stage in TRAINING.items():
        needs = rules[rule]
        assert int(needs["gpu"]) == 2, rule
        # a rank has its threads and its loaders, and memory for each
        assert int(needs["cpus_per_task"]) == 2 * (3 + WORKERS[stage]), rule
        assert int(needs["mem_mb"]) >= 2 * 1000 * (1 + WORKERS[stage]), rule
        assert int(needs["runtime"]) == 24 * 60, rule
    if profile == "slurm":
        del rules["all"]
        extra = {rule: needs["slurm_extra"] for rule, needs in rules.items()}
        # to the steps, not to the job's shell (B:), whose end is the job's
        assert all(re.search(r"--signal=TERM@\d+", options) for options in extra.values())
        assert all("--open-mode=append" in options for options in extra.values())
        assert [rule for rule, options in extra.items() if "--exclusive" in options] == ["benchmark"]


def test_a_later_attempt_has_twice_the_memory_and_no_more(root):
    memory, minutes = {}, {}
    for attempt, arguments in ((1, []), (4, ["--attempt", "4"])):
        done = dry_run(root, "slurm", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        rules = resources(done.stdout)
        memory[attempt] = [int(rules[rule]["mem_mb"]) for rule in ("prepare", "backbone")]
        minutes[attempt] = [int(rules[rule]["runtime"]) for rule in ("prepare", "backbone")]
    assert memory[4] == [2 * megabytes for megabytes in memory[1]]
    # a run that continues from a checkpoint needs no more time than before, and a partition has a limit
    assert minutes[4] == [2 * minutes[1][0], minutes[1][1]]


def test_a_training_has_several_nodes(root):
    """CPUs, memory and gres count for each node; what is no training stays on one."""
    # on the command line default resources replace those of the profile
    done, one = dry_run(root, "slurm", "--default-resources", "processes_per_node=1"), dry_run(root, "slurm")
    assert done.returncode == 0, done.stdout + done.stderr
    found, alone = resources(done.stdout), resources(one.stdout)
    for rule, stage in TRAINING.items():
        needs = found[rule]
        assert (needs["nodes"], needs["tasks"], needs["gpu"], needs["gres"]) == ("2", "2", "2", "gpu:1"), rule
        assert int(needs["cpus_per_task"]) == 3 + WORKERS[stage], rule
        assert int(needs["mem_mb"]) * 2 == int(alone[rule]["mem_mb"]), rule
        assert "nodes" not in alone[rule]
    assert not [rule for rule in OTHERS if "nodes" in found[rule] or "mpi" in found[rule]]


def test_nodes_have_equal_shares(tmp_path):
    folder = copy_project(tmp_path, "smoke")
    values = compose("smoke", ROOT / "conf") | {"device": "cuda", "processes": 3}
    for stage in TRAINING.values():
        values[stage]["batch_size"] = 3
    write_params(folder, values)
    done = dry_run(folder, "slurm", "--default-resources", "processes_per_node=2")
    assert done.returncode and "processes: 3 cannot be split into nodes of processes_per_node: 2" in (
        done.stdout + done.stderr
    )


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has GPUs")
def test_a_queue_is_not_asked_for_what_this_machine_happens_to_have(tmp_path):
    project = copy_project(tmp_path, "smoke")
    write_params(project, compose("smoke", ROOT / "conf") | {"device": "auto"})
    done = dry_run(project, "slurm")
    text = done.stdout + done.stderr
    assert done.returncode and "set it to cuda or cpu" in text and "Traceback" not in text


# --- Kubernetes, with a kubectl that runs a Job's command on this machine ---------------------------------------------

KUBECTL = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
jobs = Path(os.environ["JOBS"])
verb, *rest = sys.argv[1:]
if verb == "create":
    job = json.load(sys.stdin)
    name = job["metadata"]["name"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    (jobs / name).write_text(json.dumps(job))
    env = {{variable["name"]: variable["value"] for variable in container["env"]}}
    code = subprocess.run(container["command"], cwd=container["workingDir"], env=env).returncode
    (jobs / f"{{name}}.end").write_text("Failed" if code else "Complete")
elif verb == "get":
    end = jobs / f"{{rest[1]}}.end"
    if (jobs / rest[1]).exists():
        print(rest[1], (end.read_text() + " ") if end.exists() else "")
elif verb == "delete":
    for name in rest[3:]:
        (jobs / name).unlink()
"""


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """The folder of a cluster's jobs."""
    jobs = tmp_path / "jobs"
    (tmp_path / "bin").mkdir()
    jobs.mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(0o755)
    for name, value in {
        "JOBS": str(jobs),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{environment()['PATH']}",
        "AFIGAN_IMAGE": "image",
        "AFIGAN_CLAIM": "claim",
        "AFIGAN_MOUNT": "/volume",
    }.items():
        monkeypatch.setenv(name, value)
    return jobs


QUEUE = ROOT / "workflow/profiles/kubernetes"
NEEDS = ["--rule", "train_detector", "--gpus", "2", "--cpus", "6", "--megabytes", "8000", "--minutes", "90"]


def submit(script: Path, *needs: str) -> str:
    return subprocess.run([QUEUE / "submit.py", *needs, script], capture_output=True, text=True, check=True).stdout


def ask(name: str) -> str:
    return subprocess.run([QUEUE / "status.sh", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("status", "end"), [(0, "success"), (1, "failed")])
def test_a_job_of_kubernetes_ends_as_its_script_does(tmp_path, monkeypatch, kubernetes, status, end):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "a script.sh"
    script.write_text(f"#!/bin/sh\necho said\nexit {status}\n")
    script.chmod(0o755)
    name = submit(script, *NEEDS).strip()
    assert ask(name) == end
    assert (tmp_path / f"logs/kubernetes/{name}.log").read_text() == "said\n"
    spec = json.loads((kubernetes / name).read_text())["spec"]
    assert spec["activeDeadlineSeconds"] == 90 * 60
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "6", "memory": "8000M", "nvidia.com/gpu": "2"}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "claim"}
    (kubernetes / f"{name}.end").unlink()
    assert ask(name) == "running"
    subprocess.run([QUEUE / "cancel.sh", name], check=True)
    assert ask(name) == "failed"  # gone


def test_without_its_environment_nothing_is_submitted(tmp_path, monkeypatch, kubernetes):
    monkeypatch.delenv("AFIGAN_CLAIM")
    done = subprocess.run([QUEUE / "submit.py", *NEEDS, tmp_path / "script"], capture_output=True, text=True)
    assert done.returncode and "AFIGAN_CLAIM not set" in done.stderr and not list(kubernetes.iterdir())


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="a container's processes need root")
def test_what_ends_a_pod_ends_the_stage_first(tmp_path, monkeypatch):
    """In a container the command is process 1, and only this process gets SIGTERM."""
    monkeypatch.syspath_prepend(str(QUEUE))
    import submit as submission

    stage = tmp_path / "stage.py"
    stage.write_text(
        "import signal, sys, time, pathlib\n"
        "def end(*_):\n    time.sleep(1)\n    pathlib.Path('checkpoint').touch()\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\npathlib.Path('up').touch()\ntime.sleep(60)\n"
    )
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/sh\n{sys.executable} {stage} && exit 0 || exit 1\n")  # as Snakemake writes them
    script.chmod(0o755)
    command = submission.RUN.format(script=script, log=tmp_path / "log")
    pod = subprocess.Popen(
        ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "bash", "-c", command], cwd=tmp_path
    )
    try:
        end = time.monotonic() + 30
        while not (tmp_path / "up").exists() and time.monotonic() < end:
            time.sleep(0.05)
        children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()
        os.kill(int(children[0]), 15)
        assert pod.wait(timeout=30) == 75
    finally:
        pod.kill()
    assert (tmp_path / "checkpoint").exists()


# --- several GPUs on one machine --------------------------------------------------------------------------------------


THREE = "GPU-a,GPU-b,GPU-c"


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Three GPUs that nobody holds."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", THREE)
    monkeypatch.setattr(_gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_gpus, "_held", contextlib.ExitStack())


def other_stage(folder: Path, count: int) -> subprocess.Popen:
    """Start a process that takes some of the three GPUs, prints them, and holds them until its input ends."""
    code = (
        f"import sys, os, tempfile; sys.path.append({str(ROOT / 'workflow/scripts')!r})\n"
        f"tempfile.tempdir = {str(folder)!r}\n"
        f"import _gpus; _gpus.take({count}); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
    )
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": THREE}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_stages_at_a_time_have_gpus_of_their_own(tmp_path, gpus):
    with other_stage(tmp_path, 1) as other:
        assert other.stdout.readline() == "GPU-a\n"
        _gpus.take(1)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"
        other.kill()  # lets go, as every end of a process does
    with other_stage(tmp_path, 2) as other:
        assert other.stdout.readline() == "GPU-a,GPU-c\n"
        with other_stage(tmp_path, 2) as late:  # none is free: shared, as without this
            assert late.stdout.readline() == "GPU-a,GPU-b\n"
            late.stdin.close()
        other.stdin.close()


def test_what_a_queue_has_chosen_stays(tmp_path, monkeypatch, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    _gpus.take(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3" and not list(tmp_path.iterdir())


def test_the_machine_is_asked_which_gpus_there_are(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _gpus.visible_gpus() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho GPU-1\necho GPU-2\n")
    smi.chmod(0o755)
    assert _gpus.visible_gpus() == ["GPU-1", "GPU-2"]
    smi.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert _gpus.visible_gpus() == []
