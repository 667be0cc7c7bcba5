"""A real Slurm on one machine: munged, slurmctld and several slurmd on 127.0.0.1, each slurmd a node of its own.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge; with accounting also slurmdbd and mariadb-server.
What the settings are for stands beside them. By hand: `python tests/slurm/virtual_cluster.py FOLDER`, until Ctrl-C.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "srun")
ACCOUNTING_DAEMONS = ("slurmdbd", "mariadbd", "mariadb-install-db")
#: Far above what it takes: a machine may be busy.
START_SECONDS = 180

SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
# Credentials that live for seconds: a requeued job waits until its old ones have expired, two minutes by default.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
# PMIx keeps its sockets there: nodes that share one host must not share it.
TmpFS={folder}/tmp-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
MailProg=/bin/true
KillWait=30
JobRequeue=1
SlurmdTimeout={slurmd_timeout}
MinJobAge={remember_seconds}
# A cluster made anew must not give out numbers again that an earlier one has given out.
FirstJobId={first_job}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{options}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000 State=UNKNOWN\n"

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def missing(*, accounting=False):
    """Why a cluster cannot be started here, or None."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    programs = DAEMONS + (ACCOUNTING_DAEMONS if accounting else ())
    absent = [name for name in programs if not shutil.which(name, path=_path())]
    return f"not installed: {', '.join(absent)}" if absent else None


class Cluster:
    """Daemons in a folder. Jobs are submitted with `environment`.

    Args:
        nodes, cpus: nodes `node0…`, and processors each claims to have.
        accounting: whether slurmdbd on a MariaDB of its own keeps the books; without it, `sacct` is disabled.
        warn_of_preemption: whether USR2 announces preemption (else TERM does).
        remember_seconds: how long slurmctld remembers a job that has ended.
        slurmd_timeout: seconds after which a node that does not answer is down.
    """

    def __init__(self, folder, *, nodes=2, cpus=2, accounting=False, warn_of_preemption=True, remember_seconds=3600,
                 slurmd_timeout=10):  # fmt: skip
        self.folder, self.nodes, self.accounting = Path(folder), [f"node{k}" for k in range(nodes)], accounting
        self._cpus, self._remember, self._slurmd_timeout = cpus, remember_seconds, slurmd_timeout
        self._options = ["SlurmctldParameters=preempt_send_user_signal"] if warn_of_preemption else []
        self.environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error):
        self.stop()

    def _start(self):
        for name in ("log", "state", *(f"{kind}-{node}" for kind in ("spool", "tmp") for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        ports = _free_ports(len(self.nodes) + 3)
        self._start_munge()
        if self.accounting:
            self._start_accounting(*ports[-2:])
        values = {
            "name": f"virtual{os.getpid()}t{time.time_ns() // 10**6}", "host": _host(), "folder": self.folder,
            "controller_port": ports[0], "first_job": int(time.time()) % 10**6 + 1, "remember_seconds": self._remember,
            "slurmd_timeout": self._slurmd_timeout, "options": "\n".join(self._options),
        }  # fmt: skip
        text = SLURM_CONF.format(**values)
        for node, port in zip(self.nodes, ports[1:], strict=False):
            text += NODE.format(node=node, host=_host(), port=port, cpus=self._cpus)
        (self.folder / "slurm.conf").write_text(text)
        if self.accounting:
            self.run("sacctmgr", "-i", "add", "cluster", values["name"])
        self.run("slurmctld", "-f", self.folder / "slurm.conf")
        for node in self.nodes:
            self.start_slurmd(node)
        self._wait(lambda: self._idle() == len(self.nodes), "nodes that are idle")

    def _start_munge(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key, "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "log/munged.log",
                 "seed-file": "munged.seed"}  # fmt: skip
        self.run("munged", "--force", *(f"--{name}={self.folder / path}" for name, path in files.items()))

    def _start_accounting(self, sql_port, dbd_port):
        data, sql_socket = self.folder / "sql", self.folder / "sql.sock"
        temporary = f"--tmpdir={self.folder / 'log'}"  # of its own: when it starts, it removes what others left there
        self.run("mariadb-install-db", "--no-defaults", f"--datadir={data}", temporary, "--user=root",
                 "--skip-test-db", "--auth-root-authentication-method=normal")  # fmt: skip
        with (self.folder / "log/mariadbd.log").open("w") as log:
            self._sql = subprocess.Popen(
                ["mariadbd", "--no-defaults", f"--datadir={data}", temporary, f"--socket={sql_socket}", "--user=root",
                 f"--port={sql_port}", "--bind-address=127.0.0.1"],
                stdout=log, stderr=log, env=self.environment, start_new_session=True,
            )  # fmt: skip
        statements = "CREATE USER slurm@'%' IDENTIFIED BY 'slurm'; GRANT ALL ON *.* TO slurm@'%';"
        client = ["mariadb", "--no-defaults", f"--socket={sql_socket}", "-e", statements]
        self._wait(lambda: self.run(*client, check=False).returncode == 0, "MariaDB")
        values = {"folder": self.folder, "sql_port": sql_port, "dbd_port": dbd_port}
        (self.folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
        (self.folder / "slurmdbd.conf").chmod(0o600)
        self._options += [
            "AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={dbd_port}", f"AccountingStoragePass={self.folder}/munge.sock",
        ]  # fmt: skip
        self.run("slurmdbd")
        self._wait(lambda: _answers(dbd_port), "slurmdbd")

    def start_slurmd(self, node):
        """Start a node."""
        self.run("slurmd", "-f", self.folder / "slurm.conf", "-N", node)

    def revive(self):
        """Start the nodes whose daemons do not run."""
        for node in self.nodes:
            text = _read(self.folder / f"slurmd-{node}.pid").strip()
            if not text or not _kill(int(text), 0):
                self.start_slurmd(node)

    def restart_controller(self, seconds):
        """End slurmctld, and start it again after some seconds; jobs go on meanwhile."""
        _stop([self.folder / "slurmctld.pid"])
        time.sleep(seconds)
        self.run("slurmctld", "-f", self.folder / "slurm.conf")

    def kill_slurmd(self, node):
        """Kill a node's daemon, and nothing that it has started."""
        os.kill(int((self.folder / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)

    def kill_node(self, node):
        """Kill a node's daemon and everything that it has started, as a power cut does."""
        victims = self.processes(node)
        self.kill_slurmd(node)
        for pid in victims:
            _kill(pid, signal.SIGKILL)

    def processes(self, node):
        """Process ids of what runs as jobs on a node: slurmstepd, batch scripts, ranks."""
        spool, found = str(self.folder / f"spool-{node}").encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                command, environ = _read(entry / "cmdline"), _read(entry / "environ")
                named = f"SLURMD_NODENAME={node}".encode() in environ.split(b"\0")
                mine = f"SLURM_CONF={self.folder}/slurm.conf".encode() in environ.split(b"\0")
                if (named and mine) or (b"slurmstepd" in command and spool in command + environ):
                    found.append(int(entry.name))
        return found

    def run(self, *command, check=True):
        """Run a command against this cluster; return its `CompletedProcess` with text output."""
        done = subprocess.run([str(word) for word in command], env=self.environment, text=True, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}{self.logs()}")
        return done

    def logs(self):
        """The last lines of the daemons' logs."""
        return "".join(f"\n{p.name}:\n" + "\n".join(p.read_text(errors="replace").splitlines()[-20:])
                       for p in sorted((self.folder / "log").glob("*.log")))  # fmt: skip

    def stop(self):
        """End all jobs and daemons."""
        if (self.folder / "slurmctld.pid").exists():
            self.run("scancel", "--user=root", check=False)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and self.run("squeue", "-h", check=False).stdout.strip():
                time.sleep(0.1)
        _stop([self.folder / f"{name}.pid" for name in (*(f"slurmd-{node}" for node in self.nodes), "slurmctld")])
        _stop([self.folder / f"{name}.pid" for name in ("slurmdbd", "munged")])
        if getattr(self, "_sql", None):
            self._sql.terminate()
            self._sql.wait(START_SECONDS)

    def _idle(self):
        return sum(map(int, self.run("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D").stdout.split()))

    def _wait(self, ready, what):
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {what} after {START_SECONDS} s{self.logs()}")
            time.sleep(0.05)


def _path():
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _host():
    return socket.gethostname().partition(".")[0]


def _free_ports(count):
    """Ports below those that the system hands out: one of these could be taken before a daemon binds it."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    free = [port for port in random.sample(range(lowest // 2, lowest), 10 * count) if not _answers(port)]
    return free[:count]


def _answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _stop(pid_files):
    """End the daemons of pid files, by force after some seconds."""
    pids = [int(text) for text in map(_read, pid_files) if text.strip()]
    running = [pid for pid in pids if _kill(pid, signal.SIGTERM)]
    deadline = time.monotonic() + 10
    while running := [pid for pid in running if _kill(pid, 0)]:
        if time.monotonic() > deadline:
            for pid in running:
                _kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    with Cluster(sys.argv[1], accounting="--accounting" in sys.argv) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        signal.pause()
