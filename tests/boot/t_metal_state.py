#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A Debian kernel that vigia run was given and vigia save has stopped goes on under the bare-metal hypervisor, with two vCPUs:
what its shell knew it knows, its clock goes on and its vCPUs compute; a state of another machine is refused by name."""
import os
import re
import subprocess
import time

import vigia_test as vt
from baremetal import ELF, QEMU, need

MACHINE = [QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC,+umip", "-M", "q35", "-m", "384", "-smp", "2", "-display", "none", "-serial", "stdio",
           "-monitor", "none", "-no-reboot", "-kernel", ELF, "-initrd"]

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

    def definition(memory):
        return work.file(f"fleet{memory}.yaml", f"""
- name: wanderer
  kernel: {kernel}
  initrd: {initrd}
  append: {append}
  memory: {memory}M
  cpus: 2
  cpu: x86-64-v2
  net: [none]
""".encode())

    def pack(memory, *options):
        out = work.file(f"fleet{memory}.cpio")
        return out, subprocess.run([vt.VIGIA, "pack", definition(memory), "-o", out, *options], capture_output=True, text=True, check=False)

    r = pack(96, "--state", f"nobody={state}")[1]
    vt.check(r.returncode and "nobody" in r.stderr, "a state of a VM that is not there is refused")
    r = pack(96, "--state", f"wanderer={work.file('bad', bytes(4096))}")[1]
    vt.check(r.returncode and "bad" in r.stderr, f"and what is no state: {r.stderr.strip()}")
    with vt.VM(command=[*MACHINE, pack(96, "--state", f"wanderer={state}")[0]]) as vm:
        vm.expect(r"wanderer: .*its processors have VME, which the engine svm has not", 120)
        vm.send("poweroff\n")
        vm.wait(60)
        print("ok: processors that have what these have not are refused by name")
    fleet, r = pack(96, "--state", f"wanderer={state}", "--drop-features")
    vt.check(not r.returncode and "wanderer/memory" in r.stdout, f"vigia pack takes it, and says how large it is {r.stderr}")
    with vt.VM(command=[*MACHINE, fleet]) as vm:
        vt.check(vm.expect(r"wanderer: ([^\r]*)\r", 120)[1] == b"started", "it starts")
        vm.send("console wanderer\n")
        vm.expect(r"Ctrl-A 0 goes back", 30)
        vm.send("\n")
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
        vm.send("\x010")
        vm.expect(r"vigia> ", 30)
        vm.send("poweroff\n")
        vm.wait(60)
    fleet, r = pack(64, "--state", f"wanderer={state}", "--drop-features")
    with vt.VM(command=[*MACHINE, fleet]) as vm:
        vm.expect(r"wanderer: .*the saved state: ", 120)
        vm.send("poweroff\n")
        vm.wait(60)
        print("ok: a state of another machine is refused")
