"""Starts processes that have the libraries loaded already, which is most of a small run's time.

A test process starts one server, which imports torch, transformers and this project, computes what
prepared.py does, and does nothing else. A launch is then a fork of the server that runs
`accelerate launch`, and each process that the launcher starts is a fork of the launcher. So every
process is a process of its own with its own memory, environment, session and signals, and runs
train_loop.py from its first line; it only finds the imports done. `start` refuses what reads the
environment as it is imported, and systems without pidfd (other than Linux); launches.py then starts
an interpreter.

    python tests/warm.py FD    # the server; FD is its end of a socket pair
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from functools import cache, partial
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
READ_BY_IMPORTS = (
    "HF_", "TRANSFORMERS_", "TORCH", "OMP_", "MKL_", "PYTHON", "PATH", "LD_", "LC_", "LANG",
    "TRITON", "CUDA", "TZ", "MPL",
)  # fmt: skip
# Libraries set the second one in a test process as soon as it trains.
READ_LATER = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "TORCHINDUCTOR_CACHE_DIR"}
WITHOUT_GPU = ("", "none")  # values of CUDA_VISIBLE_DEVICES
PRELOADED = (
    "accelerate.commands.launch", "torch.distributed.run", "torch.distributed.elastic.agent",
    "transformers.models.bert.modeling_bert", "evaluate", "seqeval.metrics", "sklearn.metrics",
    "scipy.stats", "torch.distributed.fsdp", "transformers.pipelines", "train_loop",
)  # fmt: skip


class Child:
    """The methods of a subprocess.Popen that launchers and tests call, for a forked process."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, args: list[str]) -> None:
        self.pid, self.args, self.returncode = pid, args, None

    def _look(self, seconds: float | None) -> None:
        """Set the return code if the process ends within so many seconds; None: whenever."""
        raise NotImplementedError

    def poll(self) -> int | None:
        if self.returncode is None:
            self._look(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._look(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class OwnChild(Child):
    """A child of the process that asks."""

    def _look(self, seconds: float | None) -> None:
        end = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= end:
                return
            else:
                time.sleep(0.005)


class ChildOfServer(Child):
    """A child of the server, with its output in a pipe."""

    def __init__(self, server: "Server", pid: int, args: list[str], stdout) -> None:
        super().__init__(pid, args)
        self.server, self.stdout = server, stdout

    def _look(self, seconds: float | None) -> None:
        self.returncode = self.server.code_of(self.pid, seconds)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """All of the output, once the process and all that share its output have ended."""
        end = None if timeout is None else time.monotonic() + timeout
        pieces = []
        while True:
            left = None if end is None else max(0, end - time.monotonic())
            if not select.select([self.stdout], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            piece = os.read(self.stdout.fileno(), 1 << 16)
            if not piece:
                break
            pieces.append(piece)
        self.wait(None if end is None else max(0, end - time.monotonic()))
        return b"".join(pieces).decode(errors="replace"), None


class Server:
    """The test process's side of a server."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd=REPO,
            env=self.environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.codes: dict[int, int] = {}

    def start(self, args: list[str], environment: dict[str, str]) -> ChildOfServer:
        """Fork a launcher; stdout and stderr go to one pipe."""
        reader, writer = os.pipe()
        request = json.dumps({"args": args, "env": environment}).encode()
        socket.send_fds(self.socket, [request], [writer])
        os.close(writer)
        pid = None
        while pid is None:
            pid = self._receive(None).get("pid")
        return ChildOfServer(self, pid, args, os.fdopen(reader, encoding="utf-8"))

    def code_of(self, pid: int, seconds: float | None) -> int | None:
        """The return code of a launcher, once it is known; waits at most so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        while pid not in self.codes:
            left = None if end is None else max(0, end - time.monotonic())
            if self._receive(left) is None:
                return None
        return self.codes[pid]

    def _receive(self, seconds: float | None) -> dict | None:
        """The next message within so many seconds; a return code is noted."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        message = self.socket.recv(1 << 16)
        if not message:
            raise RuntimeError("the server of warm processes has ended; its error is above")
        message = json.loads(message)
        if "ended" in message:
            self.codes[message["ended"]] = message["code"]
        return message


@cache
def _server() -> Server:
    return Server()


def start(args: list[str], environment: dict[str, str]) -> ChildOfServer | None:
    """Fork a process that runs `accelerate launch` with these arguments in the repository's root.

    Args:
        environment: all of its variables.

    Returns:
        What stands for its Popen; None if a variable differs that the imports may have read.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    known = _server().environment
    changed = {name for name in {*known, *environment} if known.get(name) != environment.get(name)}
    if environment.get("CUDA_VISIBLE_DEVICES") in WITHOUT_GPU:
        changed.discard("CUDA_VISIBLE_DEVICES")
    if any(name.startswith(READ_BY_IMPORTS) for name in changed - READ_LATER):
        return None
    return _server().start(args, environment)


# What follows runs in the server and in its children.


def serve(fd: int) -> None:
    """Answer requests until the test process ends."""
    sys.path[0] = str(REPO)
    for name in PRELOADED:
        importlib.import_module(name)
    for path in sorted(REPO.glob("tagloop/**/*.py")):
        if "kernels" not in path.parts:
            name = ".".join(path.relative_to(REPO).with_suffix("").parts)
            with contextlib.suppress(ImportError):  # of a library that only some runs need
                importlib.import_module(name.removesuffix(".__init__"))
    runpy.run_path(str(REPO / "tests" / "prepared.py"))
    gc.freeze()
    control = socket.socket(fileno=fd)
    kept = {int(name) for name in os.listdir("/proc/self/fd")} - {fd}
    running: dict[int, int] = {}  # pidfd -> pid
    while True:
        for ready in select.select([control, *running], [], [])[0]:
            if ready is not control:
                pid = running.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.close(ready)
                control.send(json.dumps({"ended": pid, "code": code}).encode())
                continue
            message, fds, _, _ = socket.recv_fds(control, 1 << 20, 1)
            if not message:
                return
            request = json.loads(message)
            pid = os.fork()
            if not pid:
                become(request["env"], kept | {*fds}, own_session=True)
                os.dup2(fds[0], 1)
                os.dup2(fds[0], 2)
                os.close(fds[0])
                finish(partial(launch, request["args"], kept))
            os.close(fds[0])
            running[os.pidfd_open(pid)] = pid
            control.send(json.dumps({"pid": pid}).encode())


def become(environment: dict[str, str], kept: set[int], *, own_session: bool) -> None:
    """Make a fork as a new interpreter would be: its environment, files, session and signals."""
    gc.freeze()  # An object of the parent that were collected here could close a file of ours.
    if own_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in {0, 1, 2, *kept}:
            with contextlib.suppress(OSError):
                os.close(int(name))
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(run) -> None:
    """Run a program and end this process as an interpreter would."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as error:
        code = error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code or 0)


def launch(args: list[str], kept: set[int]) -> None:
    """`accelerate launch`, whose interpreters are forks of this process."""
    from accelerate.commands.launch import main
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    real = subprocess.Popen
    # A pipe that ends when all processes are forked; each waits for that. Else the first ones
    # connect to the launcher, where a thread looks up their names, and a fork at that moment would
    # find the lock of glibc's resolver taken for ever.
    gate: list[int] = []

    def popen(args, *, env=None, start_new_session=False, stdout=None, stderr=None, **others):
        given = [str(part) for part in args]
        program = [part for part in given[1:] if part != "-u"]
        if given[0] != sys.executable or not program[0].endswith(".py") or stdout or stderr:
            others |= {"stdout": stdout, "stderr": stderr, "start_new_session": start_new_session}
            return real(args, env=env, **others)
        sys.stdout.flush()
        env = env or dict(os.environ)
        if not gate:
            gate[:] = os.pipe()
        pid = os.fork()
        if pid:
            if int(env.get("LOCAL_RANK", 0)) + 1 == int(env.get("LOCAL_WORLD_SIZE", 1)):
                while gate:
                    os.close(gate.pop())
            return OwnChild(pid, given)
        os.close(gate[1])
        os.read(gate[0], 1)
        subprocess.Popen = subprocess_handler.Popen = real
        become(env, kept, own_session=start_new_session)
        if "-u" in given:
            sys.stdout.reconfigure(write_through=True)
        sys.argv = program
        sys.path[0] = str(Path(program[0]).resolve().parent)
        finish(lambda: runpy.run_path(program[0], run_name="__main__"))

    subprocess.Popen = subprocess_handler.Popen = popen
    sys.argv = ["accelerate-launch", *args]
    main()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
