#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What saving, restoring, snapshots and moves take: tests/bench/states.py [MIB [ROUNDS]]. A guest with so many
MiB of random data in its memory (1024) that counts on its console; the least of so many rounds (5) of each."""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import vigia_test as vt  # noqa: E402

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")
mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def guest(name, memory, fill, *args):
    vm = vt.VM("--net", "none", "--name", name, "--memory", f"{memory}M", *args, *vt.busybox("vigia.end=shell"))
    vm.expect(r"VIGIA shell", 120)
    vm.send(f"mkdir /m; mount -t tmpfs -o size={fill + 64}m none /m; dd if=/dev/urandom of=/m/r bs=1M count={fill}; echo fil''led\n")
    vm.expect(r"filled", 600)
    vm.send("while :; do echo al''ive; done\n")
    vm.expect(r"alive", 30)
    return vm


def timed(*args):
    start = time.monotonic()
    status, out, err = vt.vigia(*args, timeout=600)
    vt.check(status == 0, f"{' '.join(args[:2])} {err.strip()}")
    return time.monotonic() - start, out


def processor_time(pid):
    """Seconds that its threads have run, and that the longest of them has waited for a processor."""
    times = [[int(x) / 1e9 for x in open(f"/proc/{pid}/task/{t}/schedstat", encoding="ascii").read().split()[:2]]
             for t in os.listdir(f"/proc/{pid}/task")]
    return sum(ran for ran, _ in times), max(waited for _, waited in times)


def first_words(state):
    """From the start of the program; with what a busy machine made it wait, and the processor's time."""
    start = time.monotonic()
    with vt.restored(state, "--force") as vm:
        vm.expect(rb"alive", 60)
        took = time.monotonic() - start
        ran, waited = processor_time(vm.process.pid)
        vm.process.kill()
    return took, ran, waited


with vt.Workdir() as work:
    state, disk = work.file("state"), work.file("disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    with guest("big", mib + 256, mib, "--disk", disk) as vm:
        for how in ((), ("--compress",)):
            save = min(timed("save", "--keep", "big", state, *how)[0] for _ in range(rounds))
            size = os.stat(state).st_blocks / 2048
            start = time.monotonic()
            with open(state, "rb") as f, open(work.file("copy"), "wb") as to:
                while block := f.read(1 << 20):
                    to.write(block)
                os.fsync(to.fileno())
            copy = time.monotonic() - start
            os.unlink(work.file("copy"))
            print(f"save {' '.join(how) or 'plain'}: {save:.2f} s, {size:.0f} MiB; a copy of the file: {copy:.2f} s", flush=True)
        back = []
        for _ in range(rounds):
            timed("snapshot", "save", "big", "s")
            back.append(timed("snapshot", "restore", "big", "s")[0])
            timed("snapshot", "delete", "big", "s")
        print(f"snapshot restore in place: {min(back) * 1000:.0f} ms", flush=True)
        timed("save", "--keep", "big", state)
        vm.process.kill()
    took, ran, waited = min(first_words(state) for _ in range(rounds))
    print(f"restore until the guest's first words: {took * 1000:.0f} ms, of which its main threads ran for {ran * 1000:.0f} ms and one "
          f"waited for a processor for {waited * 1000:.0f} ms", flush=True)
    waits = []
    for _ in range(rounds):
        # A kernel that asks for little: what emulates in the place of KVM may refuse the rest.
        with vt.VM("--net", "none", "--name", "small", "--memory", "512M", "--sandbox", "off", "--cpu", "x86-64-v2",
                   *vt.busybox("vigia.end=shell nopcid nosmap nosmep nofsgsbase clearcpuid=514")) as vm:
            vm.expect(r"VIGIA shell", 120)
            _, out = timed("move", "small", "--engine", "kvm", "--drop-features")
            waits.append(float(re.search(r"([\d.]+) ms", out).group(1)))
            vm.process.kill()
    print(f"move of 512 MiB to kvm: the guest waited {min(waits):.1f} ms")
