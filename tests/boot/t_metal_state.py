#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A Debian kernel that vigia run was given and vigia save has stopped goes on under the bare-metal hypervisor, with two vCPUs:
what its shell knew it knows, its clock goes on and its vCPUs compute; a state of another machine is refused by name."""
import os
import re
import subprocess
import time

import vigia_test as vt
from baremetal import QEMU, Machine, need, packed, small

need(QEMU)
with vt.Workdir() as work:
    run = work.file("run")
    os.mkdir(run, 0o700)
    os.environ["XDG_RUNTIME_DIR"] = run
    kernel, initrd = vt.kernel(), vt.initramfs()
    # QEMU's emulation of SVM has neither PCID, which kernels use where they can, nor VME
    append = "console=ttyS0 quiet nopcid vigia.run=cpus vigia.end=shell"
    state = work.file("saved")
    with vt.VM("--name", "wanderer", "--cpu", "x86-64-v2", "--kernel", kernel, "--initrd", initrd, "--append", append, "--memory", "96M", "--cpus", "2",
               "--net", "none") as vm:
        vm.expect(r"VIGIA shell", 240)
        status, _ = vm.shell("mark=$((6 * 7)); dd if=/dev/urandom of=/tmp/kept bs=64k count=32 2>/dev/null; sync; true", 60)
        md5 = re.search(r"[0-9a-f]{32}", vm.shell("md5sum </tmp/kept", 60)[1])[0]
        before = float(vm.shell("cut -d' ' -f1 /proc/uptime", 60)[1].split()[-1])
        r = subprocess.run([vt.VIGIA, "save", "wanderer", state], capture_output=True, text=True, check=False)
        vt.check(not r.returncode, f"vigia save {r.stderr}")
        vm.process.wait(60)

    def define(memory):
        return small("wanderer", kernel, f"initrd: {initrd}", f"append: {append}", "cpus: 2", "cpu: x86-64-v2", memory=f"{memory}M")

    def machine(memory, *options, clock=()):
        module, said = packed(work.file("fleet.cpio"), define(memory), "--state", f"wanderer={state}", *options)
        vt.check("wanderer/memory" in said, "vigia pack says how large the state is")
        return Machine(module, *clock, cpu="EPYC,+umip", smp=1 if clock else 2)

    for what, named in ((f"nobody={state}", "nobody"), (f"wanderer={work.file('bad', bytes(4096))}", "bad")):
        status, _, errors = vt.vigia("pack", work.file("fleet.yaml", define(96).encode()), "-o", work.file("fleet.cpio"), "--state", what)
        vt.check(status and named in errors, f"a state of nobody, or that is none, is refused: {errors.strip()}")
    with machine(96) as vm:
        vm.expect(r"wanderer: .*its processors have VME, which the engine svm has not", 120)
        vm.poweroff()
        print("ok: processors that have what these have not are refused by name")
    with machine(96, "--drop-features") as vm:
        vt.check(vm.expect(r"wanderer: ([^\r]*)\r", 120)[1] == b"started", "it starts")
        vm.to("wanderer")
        status, text = vm.shell("echo mark=$mark", 120)
        vt.check("mark=42" in text, "its shell knows what it knew")
        vt.check(md5 in vm.shell("md5sum </tmp/kept", 60)[1], "so does its memory")
        after = float(vm.shell("cut -d' ' -f1 /proc/uptime", 60)[1].split()[-1])
        vt.check(before <= after < before + 100, f"its clock goes on from where it was: {before}, {after}")
        began = time.monotonic()
        vm.shell("sleep 3", 60)
        took = float(vm.shell("cut -d' ' -f1 /proc/uptime", 60)[1].split()[-1]) - after
        vt.check(abs(took - (time.monotonic() - began)) < 2, f"at its pace: {took:.1f} s")
        for cpu in (1, 2):
            status, text = vm.shell(f"taskset {cpu} sh -c 'seq 1 20000' | awk '{{s += $1}} END {{print s}}'", 60)
            vt.check("200010000" in text, f"its vCPU {cpu - 1} computes")
        vm.to()
        vm.poweroff()
    with machine(96, "--drop-features", clock=("-icount", "shift=3")) as vm:
        vm.expect(r"wanderer: its TSC goes at \d+ MHz, the machine's at \d+\s", 120)

        def times():
            vm.to("wanderer")
            guest = float(vm.shell("cut -d' ' -f1 /proc/uptime", 120)[1].split()[-1])
            vm.to()
            vm.send("stats\n")
            return guest, int(vm.expect(r"up (\d+) s", 60)[1])

        first = times()
        vm.to("wanderer")
        vm.shell("sleep 8", 120)
        last = times()
        guest, passed = last[0] - first[0], last[1] - first[1]
        vt.check(guest > 8 and abs(guest - passed) < 2, f"where the TSC has another rate, its clock and its timers go at theirs: {guest:.1f} s in {passed}")
        vm.poweroff()
    with machine(64, "--drop-features") as vm:
        vm.expect(r"wanderer: .*the saved state: ", 120)
        vm.poweroff()
        print("ok: a state of another machine is refused")
