"""A real Slurm in a folder of its own: nodes with two stand-in GPUs each, no accounting, nothing outside the folder.

The daemons run as the current user, on free ports, and end with the `with` block. All nodes are this machine: each has
a slurmd under a name of its own.
"""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
# more cores and memory than this machine may have: the jobs ask for those of a machine with GPUs
CONF = """\
ClusterName=afigan
SlurmctldHost={host}
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=86400
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=128000 Gres=gpu:2\n"
GRES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
NVIDIA_SMI = "#!/bin/sh\necho GPU-0; echo GPU-1\n"
# Snakemake takes all of SLURM_* from a step's environment, and with it where the configuration is
CONFIGURED = '#!/bin/sh\nexport SLURM_CONF={folder}/slurm.conf\nexec {program} "$@"\n'


def install() -> None:
    """Install Slurm and munge from the distribution's packages, if they are missing."""
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    if all(map(shutil.which, PROGRAMS)):
        return
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    if os.getuid():
        apt = ["sudo", "-n", *apt]
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
        subprocess.run([*apt, *arguments], check=True, timeout=600, env=environ, stdout=subprocess.DEVNULL)
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        raise RuntimeError(f"slurm-wlm and munge are installed, and there is still no {', '.join(missing)}")


def wait_for(what: str, check: Callable[[], object], seconds: float, poll: float = 0.1) -> object:
    """Return the first true value of `check()`.

    Raises:
        TimeoutError: there is none within `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(poll)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@contextmanager
def _daemon(log: Path, *command: str) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def slurm(folder: Path, nodes: int = 1) -> Iterator[None]:
    """Run Slurm with the partitions `main` and `urgent`, which preempts; this process's environment points to it.

    Raises:
        TimeoutError: its nodes do not come up.
    """
    install()
    host = socket.gethostname().partition(".")[0]
    for name in ("munge", "state", "spool", "bin", "log"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge/key").write_bytes(os.urandom(128))
    (folder / "munge/key").chmod(0o400)
    names = [f"node{number}" for number in range(nodes)]
    port, *ports = _free_ports(1 + nodes)
    conf = CONF.format(host=host, folder=folder, user=_user(), port=port)
    conf += "".join(NODE.format(name=name, host=host, port=own) for name, own in zip(names, ports, strict=True))
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text(GRES)
    _write_program(folder / "bin/nvidia-smi", NVIDIA_SMI)
    for name in ("srun", "scontrol"):
        _write_program(folder / "bin" / name, CONFIGURED.format(folder=folder, program=shutil.which(name)))
    before = dict(os.environ)
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}{os.pathsep}{before['PATH']}"}
    munge = [f"--{name}-file={folder / 'munge' / name}" for name in ("key", "log", "pid", "seed")]
    daemons = {
        # --force: it wants a socket that all users can reach; here is one
        "munged": ("munged", "--foreground", "--force", f"--socket={folder / 'munge/socket'}", *munge),
        "slurmctld": ("slurmctld", "-D"),
        **{name: ("slurmd", "-D", "-N", name) for name in names},
    }
    try:
        with ExitStack() as stack:
            for name, command in daemons.items():
                stack.enter_context(_daemon(folder / "log" / name, *command))
                if name == "munged":
                    wait_for("munge", (folder / "munge/socket").exists, 30)
            idle = ["idle"] * nodes
            wait_for("the nodes", lambda: output("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == idle, 60)
            try:
                yield
            finally:  # what runs the steps does not end with slurmd
                subprocess.run(["scancel", "--user", _user()], timeout=30)
                wait_for("the jobs' end", lambda: not output("squeue", "-h"), 60)
    finally:
        os.environ.clear()
        os.environ |= before


def _user() -> str:
    return output("id", "-un").strip()
