#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Modules of the bare-metal hypervisor that are cut off, not its own, or have bits that turned over: it says what is wrong with them,
starts what can be started, and stays there to be asked. VMs that are larger than the machine are told, and the others start. And where all guests are idle, so are the processors."""
import os
import random
import time

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, linux, need, pack, small

SEED = 20261130
FLIPS = 8
BUSY = 10  # per cent of a processor that QEMU takes while the machine is idle; it was 0.7

need(QEMU, "nasm")


def says(work, name, data, want):
    with Machine(work.file(name, data)) as vm:
        vm.expect(want, 60)
        vm.send("list\n")
        vm.expect(r"vigia> ", 60)
        vm.poweroff()
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output and b"exception" not in vm.output, f"{name}: no trouble")


def cpu_time(vm):
    with open(f"/proc/{vm.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(work):
    with Machine(pack(work.file("idle.cpio"), linux("alpha", "vigia.run=cpus") + linux("bravo", "vigia.run=cpus")), memory=512, smp=2) as vm:
        for name in ("alpha", "bravo"):
            vm.said(rf"{name}\| VIGIA shell", 400)
        least = 100
        for _ in range(6):  # what comes after the shell is soon done
            began, at = cpu_time(vm), time.monotonic()
            time.sleep(5)
            least = min(least, 100 * (cpu_time(vm) - began) / (time.monotonic() - at))
            if least < BUSY:
                break
        vt.check(least < BUSY, f"two idle guests on two processors: QEMU takes {least:.1f} % of one, at most {BUSY}")


def free(vm, least=0):
    """MiB, as soon as there are so many: what a VM had is given back after it is said to have ended."""
    limit = time.monotonic() + 120 * vt.PATIENCE
    while True:
        vm.send("stats\n")
        got = int(vm.expect(r"memory (\d+) of \d+ MiB free", 60)[1])
        if got >= least or time.monotonic() > limit:
            return got
        time.sleep(0.2)


def out_of_memory(work, kernel):
    """VMs for which there is no memory are told, each by itself, and what they had by then is given back."""
    ends = assemble(work.file("ends"), "boot/trouble.asm", "-DTRIPLE")
    fleet = small("fits", assemble(work.file("halt"), "boot/hog.asm", "-DHALT")) + small("never", kernel, memory="8192M")
    fleet += small("most", ends, memory="180M")
    with Machine(pack(work.file("large.cpio"), fleet), memory=256) as vm:
        vm.said(r"never: out of memory: it is to have 8192 MiB, and \d+ are free\s", 120)
        vm.said(r"fits\| computes", 120)
        vm.said(r"most: (crashed|out of memory)", 120)
        before = free(vm, 200)
        for _ in range(3):
            vm.position = len(vm.output)
            vm.send("start most\n")
            vm.expect(r"most: crashed", 120)
            vm.send("start never\n")
            vm.expect(r"never: out of memory: it is to have", 120)
            now = free(vm, before - 1)
            vt.check(now >= before - 1, f"nothing is lost by that: {before} MiB were free, {now} are")
        vm.send("list\n")
        vm.expect(r"fits +running", 60)
        vm.expect(r"never +not startable", 60)
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble meanwhile")


with vt.Workdir() as work:
    kernel = assemble(work.file("small"), "boot/metal.asm")
    disk = work.file("disk", size=65536)
    good = pack(work.file("fleet.cpio"), small("one", kernel) + small("two", kernel, f'disk: ["{disk}"]'))
    with open(good, "rb") as f:
        good = f.read()
    rng = random.Random(SEED)
    for name, data in (("one byte", b"\0"), ("ten bytes", good[:10]), ("a half", good[:len(good) // 2]), ("without its end", good[:-600]),
                       ("zeros", bytes(70000)), ("noise", rng.randbytes(70000))):
        says(work, name, data, r"there are no VMs: not a fleet: [^\n]*\n")
    for n in range(FLIPS):
        data = bytearray(good)
        at = rng.randrange(len(good) if n % 2 else 1000)
        data[at] ^= 1 << rng.randrange(8)
        says(work, f"byte {at} turned", bytes(data), r"vigia> ")
    out_of_memory(work, kernel)
    idle(work)
