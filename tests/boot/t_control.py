#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The control socket's commands: list, stats, pause, resume, console, stop, kill; names; garbage."""
import json
import os
import pty
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

import vigia_test as vt

runtime = tempfile.mkdtemp(prefix="vigia-run-")
os.environ["XDG_RUNTIME_DIR"] = runtime


def drain(fd):
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass


def listed():
    status, out, err = vt.vigia("list", "--json")
    vt.check(status == 0, f"vigia list {err}")
    return {vm["name"]: vm for vm in json.loads(out)}


processor = max(os.sched_getaffinity(0))
with vt.VM("--net", "none", "--name", "one", "--pin", str(processor), "--stop-timeout", "2", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA shell", 120)
    vms = listed()
    vt.check(vms["one"]["state"] == "running" and vms["one"]["pid"] == vm.process.pid, "list shows it running")
    threads = [os.sched_getaffinity(int(t)) for t in os.listdir(f"/proc/{vm.process.pid}/task")]
    vt.check(len(threads) > 3 and all(t == {processor} for t in threads), "all its threads are on the processor that --pin names")
    status, out, _ = vt.vigia("list")
    vt.check("one" in out and "running" in out, "as a table too")

    status, _, err = vt.vigia("run", "--name", "one", "--net", "none", *vt.busybox())
    vt.check(status == 1 and "runs already" in err, f"the name is taken: {err.strip()}")
    vt.check("one" in listed(), "and the first VM has kept its socket")

    status, out, _ = vt.vigia("stats", "one", "--json")
    stats = json.loads(out)
    vt.check(status == 0 and stats["resident"] > 1 << 20 and len(stats["vcpus"]) == 1, "stats")
    vt.check(vt.vigia("stats", "one")[0] == 0, "stats as text")
    status, out, _ = vt.vigia("stats", "one", "--profile")
    vt.check(status == 0 and "not sampled" in out and re.search(r"[1-9]\d*  TLB fills\n", out), "where the time goes, without samples")

    vt.check(vt.vigia("pause", "one")[0] == 0 and listed()["one"]["state"] == "paused", "pause")
    vt.check(vt.vigia("pause", "one")[0] == 1, "a second pause is refused")
    vm.send("echo a''live\n")
    time.sleep(1.5)
    vm._read(0.1)
    vt.check(b"alive" not in vm.output, "nothing runs while it is paused")
    vt.check(vt.vigia("resume", "one")[0] == 0, "resume")
    vm.expect(r"alive", 30)
    vt.check(vt.vigia("resume", "one")[0] == 1, "a second resume is refused")

    # The console, from a pipe and from a terminal.
    p = subprocess.Popen([vt.VIGIA, "console", "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    p.stdin.write(b"echo from''console\n")
    p.stdin.flush()
    vm.expect(r"fromconsole", 30)
    seen = b""
    while b"fromconsole" not in seen:
        data = os.read(p.stdout.fileno(), 65536)
        vt.check(data, "the console client sees output") if not data else None
        seen += data
    vt.check(b"VIGIA shell" in seen, "the console client has first seen the history")
    p.kill()
    p.wait()
    master, slave = pty.openpty()
    p = subprocess.Popen([vt.VIGIA, "console", "one"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    threading.Thread(target=drain, args=(master,), daemon=True).start()
    time.sleep(0.5)
    os.write(master, b"\x01x")
    vt.check(p.wait(10) == 0, "Ctrl-A x leaves the console")
    vt.check(vm.process.poll() is None, "the VM goes on")

    # Garbage on the socket.
    path = os.path.join(runtime, "vigia", "one.sock")
    vt.check(os.stat(path).st_mode & 0o077 == 0, "the socket is private")
    for data in (b"\n", b"garbage\n", b"{" * 5000, os.urandom(3000), b'{"do":"stop","timeout":-1}\n',
                 b'{"do":"stop","timeout":"x","timeout":3}\n', b'{"do":"console"}'):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(data)
    idle = []
    for _ in range(40):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
        except BlockingIOError:
            break
        idle.append(s)
    time.sleep(0.3)
    for s in idle:
        s.close()
    time.sleep(0.3)
    vt.check("one" in listed() and vm.process.poll() is None, "garbage and idle clients do no harm")

    vt.check(vt.vigia("stop", "one", "--wait")[0] == 0, "stop")
    vm.wait(10)
vt.check(listed() == {}, "it has gone from the list")
vt.check(os.listdir(os.path.join(runtime, "vigia")) == [], "and its socket from the folder")

with vt.VM("--net", "none", "--name", "two", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA init", 120)
    vt.check(vt.vigia("kill", "two")[0] == 0, "kill")
    vm.wait(10)

with vt.VM("--net", "none", "--name", "three", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA init", 120)
    vm.process.send_signal(signal.SIGKILL)
    vm.process.wait()
vt.check(listed() == {}, "a killed VM is not listed")

# A name is free for the next one as soon as its VM is killed; it waits until the disks have been closed.
with vt.Workdir() as work:
    disk = work.file("disk.qcow2")
    vt.vigia("image", "create", disk, "64M")
    args = ("--net", "none", "--name", "again", "--disk", disk, *vt.busybox("vigia.end=shell"))
    before = vt.VM(*args)
    for i in range(5):
        before.expect(r"VIGIA shell", 120)
        before.send("while true; do dd if=/dev/urandom of=/dev/vda bs=64k count=256 2>/dev/null; done\n")
        time.sleep(0.3)
        if i < 4:
            vt.check(vt.vigia("kill", "again")[0] == 0, "killed")
        else:  # this one stands still in the middle of its end
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(os.path.join(runtime, "vigia", "again.sock"))
                sock.sendall(b'{"do":"kill"}\n')
                sock.recv(100)
                before.signal(signal.SIGSTOP)
        vm = vt.VM(*args)
        if i == 4:
            time.sleep(1)
            vt.check(vm.process.poll() is None and not vm.output, "who comes next waits")
            before.signal(signal.SIGCONT)
        vm.expect(r"Linux version", 60)
        vt.check(before.process.wait(1) == 0, "the next one starts when the one before has gone")
        before = vm
    vm.process.kill()
    vm.process.wait()
with vt.VM("--net", "none", "--name", "three", *vt.busybox()) as vm:
    vm.wait(120)
    print("ok: its name is free again")

with vt.VM("--engine", "soft", "--profile", "--net", "none", "--name", "four", *vt.busybox("vigia.run=fork")) as vm:
    vm.expect(r"VIGIA init", 120)
    status, out, _ = vt.vigia("stats", "four", "--json")
    samples = json.loads(out)["profile"]
    vt.check(status == 0 and samples["translated code, kernel"] > 10, f"a profile: {samples}")
    vm.wait(120)
    vt.check(re.search(r"[1-9][0-9.]* %  translated code, user\n", vm.stderr()) and "IRET" in vm.stderr(), "and at the end")

# A definition file.
with vt.Workdir() as d:
    args = vt.busybox("vigia.run=cpus")
    yaml = d.file("vm.yaml", f"name: fromfile\nkernel: {args[1]}\ninitrd: {args[3]}\nappend: {args[5]}\n"
                             "cpus: 2\nnet: [none]\n".encode())
    with vt.VM(yaml) as vm:
        vm.expect(r"VIGIA cpus=2", 120)
        vm.wait(60)
        print("ok: a VM from a definition file")
