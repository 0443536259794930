#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""save and restore: random moments of a boot, of work in YMM registers (avxwork.c), with disk and network,
1 and 4 CPUs; the guest checks its sums and its clock; plain and compressed files; saves that are
interrupted, or find no room; files that are damaged.

VIGIA_SAVE_ROUNDS: how many rounds of each kind (2)."""
import fcntl
import os
import random
import re
import resource
import signal
import subprocess
import tempfile
import time

import vigia_test as vt

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")
ROUNDS = int(os.environ.get("VIGIA_SAVE_ROUNDS", "2"))
seed = int(os.environ.get("VIGIA_SAVE_SEED", str(random.randrange(1 << 30))))
rnd = random.Random(seed)
print(f"seed {seed}")


def save(name, path, *args):
    if rnd.randrange(3) == 0:
        args += ("--compress",)
    status, _, err = vt.vigia("save", name, path, *args, timeout=300)  # one core's work, on a machine that may have other
    vt.check(status == 0, f"save {os.path.basename(path)} {err.strip()}")


def initrd():
    program = os.path.join(work.path, "avxwork")
    subprocess.run(["cc", "-O2", "-static", "-mavx2", "-o", program,
                    os.path.join(os.path.dirname(os.path.abspath(__file__)), "avxwork.c")], check=True)
    return vt.initramfs("--name", "savework", "--add", program)


# Sums over memory in the background, AVX beside, and a clock that must not run back.
WORK = r"""
work() { a=$(dd if=/dev/urandom bs=64k count=8 2>/dev/null | tee /tmp/r$1 | sha256sum); n=0; last=0
while true; do n=$((n+1)); b=$(sha256sum < /tmp/r$1); [ "$a" = "$b" ] || echo WRONG''SUM; t=$(cut -d. -f1 /proc/uptime)
[ $t -ge $last ] || echo WRONG''CLOCK; last=$t; [ $((n%10)) = 0 ] && echo al''ive$1 $n; done; }
"""

with vt.Workdir() as work:
    state = work.file("vm.state")
    has_avx = " avx2 " in open("/proc/cpuinfo", encoding="ascii").read()
    guest = ["--kernel", vt.kernel(), "--initrd", initrd(), "--append", "console=ttyS0 vigia.end=shell"]
    for cpus in ("1", "4"):
        # During the boot: several times the same VM.
        vm = vt.VM("--net", "none", "--name", "boot", "--cpus", cpus, *guest)
        output = b""
        for _ in range(ROUNDS):
            time.sleep(rnd.uniform(0.3, 0.9))
            for _ in range(100):  # on a busy machine it takes a while until it can be reached
                if vt.vigia("stats", "boot")[0] == 0:
                    break
                time.sleep(0.1)
            save("boot", state)
            vt.check(vm.process.wait(20) == 0, "the saved VM has ended")
            vm._read(0.1)
            output += vm.output
            vm = vt.restored(state)
        with vm:
            vm.output = output
            vm.expect(r"VIGIA shell", 120)
            vt.check(b"WRONG" not in vm.output and b"BUG" not in vm.output, f"{cpus} CPUs: saved during the boot")
            for line in WORK.strip().splitlines():
                vm.send(line + "\n")
            for i in range(int(cpus)):
                vm.send(f"work {i} &\n")
            if has_avx:
                vm.send("avxwork &\n")
                vm.expect(r"alive avx", 60)
            vm.expect(r"alive0", 60)
            vm.send("cat /proc/uptime\n")
            vm.expect(r"\n(\d+\.\d+) ", 30)
            save("boot", state)
            vm.process.wait(20)
        for _ in range(ROUNDS):
            with vt.restored(state) as vm:
                vm.expect(r"alive0", 60)
                if has_avx:
                    vm.expect(r"alive avx", 60)
                time.sleep(rnd.uniform(0, 0.5))
                save("boot", state)
                vm.process.wait(20)
                vt.check(b"WRONG" not in vm.output, f"{cpus} CPUs: sums and clock are right")

    # What was saved goes on more than once, and a copy with --verify.
    with vt.restored(state, "--verify") as vm:
        vm.expect(r"alive0", 60)
        # Interrupted saves: killed, and on a full disk. The file and the VM stay.
        before = os.stat(state)
        for _ in range(ROUNDS):
            p = subprocess.Popen([vt.VIGIA, "save", "boot", state], stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, 0.15))
            if p.poll() is not None:
                break
            os.kill(p.pid, signal.SIGKILL)
            p.wait()
            vt.vigia("resume", "boot")
            if os.stat(state).st_ino != before.st_ino:
                break
        if vm.process.poll() is None and os.stat(state).st_ino == before.st_ino:
            time.sleep(1)
            vt.vigia("resume", "boot")
            vm.position = len(vm.output)
            vm.expect(r"alive0", 60)
            left = [f for f in os.listdir(work.path) if ".tmp." in f]
            vt.check(not left, "a killed save leaves VM and file, and nothing beside it")
            # Where files cannot be nameless: what was left goes at the next save, what is being written stays.
            for n in ("1", "2", "x"):
                work.file(f"vm.state.tmp.{n}", b"left")
            writer = open(work.file("vm.state.tmp.3", b"busy"), "rb")
            fcntl.flock(writer, fcntl.LOCK_EX)
            status, _, err = vt.vigia("save", "--keep", "boot", state)
            vt.check(status == 0 and sorted(f for f in os.listdir(work.path) if ".tmp." in f) == ["vm.state.tmp.3", "vm.state.tmp.x"],
                     f"what killed saves have left goes {err.strip()}")
            writer.close()
            for n in ("3", "x"):
                os.unlink(work.file(f"vm.state.tmp.{n}"))
            before = os.stat(state)
            status, _, err = vt.vigia("save", "boot", "/dev/full/x")
            vt.check(status == 1 and "cannot write" in err, "a save to nowhere is refused")
            vm.expect(r"alive0", 60)
            files = len(os.listdir(work.path))
            # No room: behind its 66th MiB the VM's files take nothing.
            for how in ((), ("--compress",)):
                resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, (66 << 20, resource.RLIM_INFINITY))
                status, _, err = vt.vigia("save", "boot", state, *how)
                resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                vt.check(status == 1 and os.stat(state).st_ino == before.st_ino and len(os.listdir(work.path)) == files,
                         f"a save without room leaves the file of before: {err.strip()}")
                vm.position = len(vm.output)
                vm.expect(r"alive0", 60)
            vm.process.kill()

    # A disk and the network under load; the disk is what the guest has written, whenever it was saved.
    disk = work.file("disk.raw", size=64 << 20)
    args = ["--disk", disk + ",format=raw", "--name", "disk", "--cpus", "2", *vt.busybox("vigia.end=shell")]
    vm = vt.VM(*args)
    with vm:
        vm.expect(r"VIGIA shell", 120)
        vm.send("dd if=/dev/urandom of=/tmp/r bs=64k count=64 2>/dev/null; a=$(sha256sum < /tmp/r)\n")
        vm.send("disk() { n=0; while true; do n=$((n+1)); dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/dev/null;"
                " echo 1 > /proc/sys/vm/drop_caches; b=$(dd if=/dev/vda bs=64k count=64 2>/dev/null | sha256sum);"
                " [ \"$a\" = \"$b\" ] || echo WRONG''DISK; echo al''ived $n; done; }\n")
        vm.send("ping -f 10.0.2.2 >/dev/null 2>&1 & disk &\n")
        vm.expect(r"alived", 60)
        save("disk", state)
        vm.process.wait(20)
    for _ in range(ROUNDS):
        with vt.restored(state) as vm:
            vm.expect(r"alived", 60)
            time.sleep(rnd.uniform(0, 0.3))
            save("disk", state)
            vm.process.wait(20)
            vt.check(b"WRONG" not in vm.output and b"I/O error" not in vm.output, "disk and network under load")
    with open(disk, "r+b") as f:
        f.write(b"someone else")
    status, _, err = vt.vigia("restore", state)
    vt.check(status == 1 and "has been changed" in err, "a disk that was changed is refused")

    # Files that are no states.
    data = open(state, "rb").read(1 << 20)
    for what, bad in (("empty", b""), ("noise", os.urandom(4096)), ("cut", data[:3000]),
                      ("damaged", data[:500] + bytes([data[500] ^ 1]) + data[501:])):
        path = work.file(what, bad)
        status, _, err = vt.vigia("restore", path)
        vt.check(status == 1 and what in err, f"refused: {err.strip()}")
