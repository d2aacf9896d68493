"""The agent: the one long-lived process on a device that is reached over SSH. It keeps files, a lock and workers.

Its source arrives over standard input (targets/ssh_connection.py), then JSON lines do, each perhaps followed by `size` raw
bytes; a reply is a JSON line, perhaps followed by `payload` raw bytes. It knows nothing of models: what is asked of a worker is
relayed, with paths of this device in the place of names of files.

It ends, and its workers with it, when standard input closes, on a signal, and when nothing moved for `silence_s`: by the
kernel's alarm, which also rings in the middle of a write to a dead connection. Workers ask the kernel to be killed with it.

Operations: ping, put (a file into the store), open, request and close (a worker), lock and unlock (the device), look (what
`targets doctor` asks). Standard library only, Python 3.8.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from .agent_store import Store, StoreError, Upload

HELLO = "autocompress-agent "
READY = b'{"ready": true}'  # the first line of a worker that was asked to announce itself
STANDBY_WAIT_S = 3.0  # for a standby that still starts when a measurement is to begin
LONGEST_WAITING = 64 << 20  # bytes that a worker may say before it is asked something
CHUNK = 1 << 18


class Refusal(Exception):
    """A request that fails; `facts` go into the reply."""

    def __init__(self, kind, message="", **facts):
        super().__init__(message)
        self.reply = dict(facts, ok=False, kind=kind, message=message)


class Worker:
    """A worker process in a session of its own, which the kernel kills with the agent."""

    def __init__(self, command, folder):
        self.errors = tempfile.TemporaryFile(dir=folder)
        self.buffer, self.ready_at, self._kills = bytearray(), None, oom_kills()
        environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            cwd=folder,
            env=environment,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )

    def kill(self):
        """Ends the process and its children; it is reaped when this returns."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def close(self):
        self.kill()
        for stream in (self.process.stdout, self.errors, self.process.stdin):
            try:
                stream.close()
            except OSError:  # of a request that it never read
                pass

    def death(self):
        """How it ended: exit code, the end of what it wrote on standard error, whether for want of memory."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # it only closed its output
            self.kill()
            code = self.process.returncode
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 500))
        tail = " ".join(self.errors.read().decode(errors="replace").split())
        return {"code": code, "tail": tail, "oom": code == -signal.SIGKILL and oom_kills() > self._kills}


class Session:
    """A worker that was opened for the coordinator. `job` is what it is asked just now, `dead` how it ended."""

    def __init__(self, worker, folder):
        self.worker, self.folder, self.job, self.dead, self.pins = worker, folder, None, None, []

    def unpin(self):
        while self.pins:
            os.close(self.pins.pop())


class Agent:
    """The conversation with the coordinator, in one thread."""

    def __init__(self, settings):
        self.settings = settings
        signal.signal(signal.SIGALRM, self._end)
        for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(name, self._end)
        self.sessions, self.standby, self.lock = {}, None, None
        self.buffer, self.upload = bytearray(), None
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ, self._hear)
        self.store = None
        self._alive()

    # --- the conversation

    def run(self):
        """Answers until standard input closes."""
        try:
            self.store = Store(self._folder(), self.settings["limit_bytes"], self.settings["reserve_bytes"])
        except StoreError as error:
            self._say({"error": error.kind, "message": str(error)}, prefix=HELLO)
            return
        self._say(self._facts(), prefix=HELLO)
        while True:
            for key, _ in self.selector.select(self._patience()):
                key.data()
            self._look_at_clock()

    def _folder(self):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return self.settings["folder"] or os.path.join(cache, "autocompress", "device")

    def _facts(self):
        affinity = getattr(os, "sched_getaffinity", None)
        return {
            "python": platform.python_version(),
            "executable": sys.executable,
            "machine": platform.machine(),
            "hostname": socket.gethostname(),
            "cores": sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1)),
            "folder": self.store.folder,
            "free_bytes": self.store.free_bytes(),
            "pid": os.getpid(),
        }

    def _alive(self):
        """Puts off the alarm: something moved."""
        signal.setitimer(signal.ITIMER_REAL, self.settings["silence_s"])

    def _end(self, *_):
        """Ends this process and everything that it started."""
        for worker in [session.worker for session in self.sessions.values()] + ([self.standby[1]] if self.standby else []):
            try:
                os.killpg(worker.process.pid, signal.SIGKILL)
            except OSError:
                pass
        if self.store is not None:
            self.store.close()
        os._exit(0)

    def _hear(self):
        chunk = os.read(0, CHUNK)
        if not chunk:
            self._end()
        self._alive()
        self.buffer += chunk
        while self._next():
            pass

    def _next(self):
        """Takes the next message, or part of an upload, out of what arrived; whether there was one."""
        if self.upload is not None:
            request, upload = self.upload
            part = bytes(self.buffer[: upload.left])
            del self.buffer[: len(part)]
            upload.write(part)
            if upload.left:
                return False
            self.upload = None
            self._answer(request, upload.finish)
            return True
        line, newline, rest = self.buffer.partition(b"\n")
        if not newline:
            return False
        self.buffer = rest
        request = json.loads(line.decode())
        if request["op"] == "put":
            self.upload = request, Upload(self.store, request["name"], request["size"])
        else:
            self._answer(request, lambda: getattr(self, "do_" + request["op"])(request))
        return True

    def _answer(self, request, work):
        """Does the work and replies with what it returns; DEFERRED replies later."""
        try:
            reply = work() or {}
        except StoreError as error:
            reply = {"ok": False, "kind": error.kind, "message": str(error)}
        except Refusal as refusal:
            reply = refusal.reply
        if reply is not DEFERRED:
            self._say(dict({"ok": True}, **reply), id=request["id"])

    def _say(self, reply, body=(), prefix="", **more):
        """Writes a line, and then the parts of its payload."""
        self._write((prefix + json.dumps(dict(reply, **more)) + "\n").encode())
        for part in body:
            self._write(part)

    def _write(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view[:CHUNK]) :]
            except BrokenPipeError:
                self._end()
            self._alive()

    # --- operations

    def do_ping(self, request):
        pass

    def do_open(self, request):
        """A worker for a session: the one that stands by if it is of the same kind, otherwise a new one."""
        folder = self.store.unpacked(request["package"])
        if folder is None:
            raise Refusal("missing", names=[request["package"]])
        config = json.dumps(dict(request["config"], announce=True), sort_keys=True)
        kind = [self.settings["python"], os.path.join(folder, request["entry"]), config]
        worker = self._take_standby(kind) or self._start(kind)
        self.kind = kind
        folder = tempfile.mkdtemp(dir=self.store.own)
        self.sessions[request["session"]] = session = Session(worker, folder)
        self.selector.register(worker.process.stdout, selectors.EVENT_READ, lambda: self._read(session))

    def _start(self, kind):
        try:
            return Worker(kind, self.store.own)
        except OSError as error:
            raise Refusal("start", "%s cannot be started: %s" % (kind[0], error.strerror))

    def _take_standby(self, kind):
        if self.standby is None:
            return None
        (known, worker), self.standby = self.standby, None
        self.selector.unregister(worker.process.stdout)
        if known == kind and worker.process.poll() is None:
            return worker
        worker.close()
        return None

    def _stand_by(self):
        """Starts a worker for the next session, unless something is being asked of another one."""
        if self.settings["standby"] and self.standby is None and not any(item.job for item in self.sessions.values()):
            try:
                worker = self._start(self.kind)
            except (Refusal, OSError):
                return
            self.standby = self.kind, worker
            self.selector.register(worker.process.stdout, selectors.EVENT_READ, self._hear_standby)

    def _hear_standby(self):
        """The announcement of a standby; one that says anything else, or nothing, is not used."""
        worker = self.standby[1]
        worker.buffer += os.read(worker.process.stdout.fileno(), CHUNK)
        if not announced(worker):
            self._take_standby(None)

    def do_close(self, request):
        session = self.sessions.pop(request["session"], None)
        if session is not None:
            if session.dead is None:
                self.selector.unregister(session.worker.process.stdout)
            session.worker.close()
            session.unpin()
            shutil.rmtree(session.folder, ignore_errors=True)
            if session.dead is None:
                self._stand_by()

    def do_request(self, request):
        """Asks a session's worker. Its files are pinned until it answers."""
        session = self.sessions.get(request["session"])
        if session is None:
            raise Refusal("closed", "there is no such session")
        if session.dead is not None:
            raise Refusal("died", **session.dead)
        paths = self._paths(session, request["files"])
        outputs = {key: os.path.join(session.folder, os.path.basename(name)) for key, name in request["outputs"].items()}
        line = json.dumps(dict(request["request"], **paths, **outputs)).encode() + b"\n"
        session.job = {
            "id": request["id"],
            "line": line,
            "outputs": outputs,
            "timeout_s": request["timeout_s"],
            "longest": request["longest"],
            "alone": request["alone"],
            "waits_until": time.monotonic() + STANDBY_WAIT_S,
            "started": None,
        }
        self._ask(session)
        return DEFERRED

    def _paths(self, session, files):
        """The paths of pinned files by key; an entry that is a mapping becomes a folder. Refusal names those that are missing."""
        missing, paths = [], {}
        for key, found in files.items():
            for name in found.values() if isinstance(found, dict) else [found]:
                pin = self.store.pin(name)
                session.pins.extend([] if pin is None else [pin])
                missing.extend([name] if pin is None else [])
        if missing:
            session.unpin()
            raise Refusal("missing", names=missing)
        for key, found in files.items():
            paths[key] = self._linked(session, found) if isinstance(found, dict) else self.store.path(found)
        return paths

    def _linked(self, session, found):
        folder = tempfile.mkdtemp(dir=session.folder)
        for item, name in found.items():
            os.symlink(self.store.path(name), os.path.join(folder, os.path.basename(item)))
        return folder

    def _ask(self, session):
        """Passes the job on, once no other worker is starting beside a measurement."""
        job = session.job
        if job["alone"] and self.standby is not None and self.standby[1].ready_at is None:
            if time.monotonic() < job["waits_until"]:
                return
            self._take_standby(None)
        job["started"] = time.monotonic()
        try:
            os.write(session.worker.process.stdin.fileno(), job["line"])
        except BrokenPipeError:
            pass  # the end of its output tells
        self._relay(session)

    def _read(self, session):
        """What a session's worker wrote, or that it ended."""
        worker = session.worker
        chunk = os.read(worker.process.stdout.fileno(), CHUNK)
        if not chunk:
            self._gone(session, {"ok": False, "kind": "died"}, **worker.death())
        else:
            worker.buffer += chunk
            if worker.ready_at is None:
                announced(worker)
            self._relay(session)

    def _relay(self, session):
        """Sends the worker's answer on, with the files that it wrote."""
        job, buffer = session.job, session.worker.buffer
        longest = LONGEST_WAITING if job is None else job["longest"]
        if b"\n" not in buffer or job is None:
            if len(buffer) > longest:
                self._gone(session, {"ok": False, "kind": "long"})
            return
        if job["started"] is None:
            return
        line, _, session.worker.buffer = buffer.partition(b"\n")
        now = time.monotonic()
        reply = {"ok": True, "line": len(line), "worker_s": now - max(job["started"], session.worker.ready_at or 0.0)}
        session.job = None
        session.unpin()
        self._send(job, reply, bytes(line))

    def _send(self, job, reply, line):
        files = []
        for key, path in job["outputs"].items():
            if os.path.isfile(path):
                digest, size = hashlib.sha256(), 0
                with open(path, "rb") as file:
                    for part in iter(lambda: file.read(CHUNK), b""):
                        digest.update(part)
                        size += len(part)
                files.append({"key": key, "path": path, "size": size, "digest": digest.hexdigest()})
        self._say(reply, [line], id=job["id"], files=files, payload=len(line) + sum(item["size"] for item in files))
        for item in files:
            with open(item["path"], "rb") as file:
                for part in iter(lambda: file.read(CHUNK), b""):
                    self._write(part)
            os.unlink(item["path"])

    def _gone(self, session, reply, **death):
        """A session's worker is no more: told at once if it was asked something, otherwise when it is."""
        self.selector.unregister(session.worker.process.stdout)
        session.worker.kill()
        session.dead = death or {"code": -signal.SIGKILL, "tail": "", "oom": False}
        session.unpin()
        job, session.job = session.job, None
        if job is not None:
            self._say(reply, id=job["id"], message="", **death)

    def do_lock(self, request):
        """Takes the lock of the device, or says who holds it."""
        if self.lock is not None:
            return
        path = os.path.join(tempfile.gettempdir(), "autocompress-device.lock")  # of all users
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            os.fchmod(descriptor, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise Refusal("busy", holder or "somebody who did not say who")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, request["who"].encode()[:200], 0)
        self.lock = descriptor

    def do_unlock(self, request):
        if self.lock is not None:
            os.ftruncate(self.lock, 0)
            os.close(self.lock)
            self.lock = None

    def do_look(self, request):
        """Which of the modules there are, whether root's rights can be had without a password, what the disk holds."""
        sudo = False
        if request["sudo"]:
            try:
                command = ["sudo", "-n", "true"]
                sudo = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, timeout=10).returncode == 0
            except (OSError, subprocess.TimeoutExpired):
                pass
        missing = [name for name in request["modules"] if importlib.util.find_spec(name) is None]
        return {"missing": missing, "sudo": sudo, "free_bytes": self.store.free_bytes()}

    # --- time

    def _patience(self):
        """Seconds until the clock matters; None: never."""
        times = []
        for session in self.sessions.values():
            if session.job is not None:
                started = session.job["started"]
                times.append(session.job["waits_until"] if started is None else started + session.job["timeout_s"])
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look_at_clock(self):
        for session in list(self.sessions.values()):
            job = session.job
            if job is None:
                continue
            if job["started"] is None:
                self._ask(session)
            elif time.monotonic() > job["started"] + job["timeout_s"]:
                self._gone(session, {"ok": False, "kind": "timeout"})


DEFERRED = {"deferred": True}


def announced(worker):
    """Whether a worker has only announced itself so far; the line is taken out of what it said."""
    line, newline, rest = worker.buffer.partition(b"\n")
    if newline and bytes(line) == READY:
        worker.ready_at, worker.buffer = time.monotonic(), rest
        return not rest
    return READY.startswith(bytes(worker.buffer)) and bool(worker.buffer)


def oom_kills():
    """How many processes this machine has killed for want of memory since its start; 0 where it does not tell."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


try:
    _PRCTL = ctypes.CDLL(None).prctl
except (OSError, AttributeError):  # not Linux: a worker still ends when its input closes
    _PRCTL = None


def die_with_parent():
    """Asks the kernel to kill this process when its parent ends: a stopped one does not notice that its input closed."""
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(settings):
    """Runs the agent in this process. `settings`: python, folder, limit_bytes, reserve_bytes, silence_s, standby."""
    agent = Agent(settings)
    agent.run()
