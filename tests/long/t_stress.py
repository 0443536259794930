#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""An hour of stress-ng in the Debian guest: processors, memory, disk, processes, switches; afterwards no
error in the kernel log, the file system sound, the image too. VIGIA_STRESS_SECONDS (3600) and
VIGIA_STRESS_CPUS (2) change it. The disk is a copy of one that is made once, with stress-ng in it."""
import os
import subprocess
import time

import vigia_test as vt

SECONDS = int(os.environ.get("VIGIA_STRESS_SECONDS", "3600"))
CPUS = int(os.environ.get("VIGIA_STRESS_CPUS", "2"))
BAD = ("BUG", "Oops", "lockup", "stall", "hung_task", "blocked for more", "I/O error", "EXT4-fs error", "WARNING:",
       "segfault", "general protection", "traps:", "Machine check", "corrupt", "unchecked MSR", "Out of memory")

base = vt.tool("guest-disk", "--name", "stress", "--include", "stress-ng")
stem = base[:-len(".qcow2")]
with vt.Workdir() as d:
    image = d.file("disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image], check=True)
    with vt.VM("--cpus", str(CPUS), "--memory", "1G", "--stop-timeout", "120", "--kernel", stem + ".vmlinuz",
               "--initrd", stem + ".initrd", "--append", "root=/dev/vda rw console=ttyS0", "--disk", image) as vm:
        vm.login()
        began = time.monotonic()
        status, out = vm.shell(f"stress-ng --cpu {CPUS} --vm {CPUS} --vm-bytes 128M --hdd 1 --hdd-bytes 128M --fork {CPUS} "
                               f"--switch {CPUS} --verify --metrics-brief --timeout {SECONDS}s", SECONDS * 2 + 600)
        print(out[-3000:])
        vt.check(status == 0, f"stress-ng ends well after {time.monotonic() - began:.0f} s")
        status, log = vm.shell("dmesg", 120)
        found = [line for line in log.splitlines() if any(b in line for b in BAD)]
        vt.check(not found, f"no error in the kernel log {found[:5]}")
        vm.send("poweroff\n")
        vm.wait(180)
    vt.qemu_img_check(image)
    raw = d.file("disk.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
    vt.check(subprocess.run(["e2fsck", "-fn", raw], stdout=subprocess.DEVNULL, check=False).returncode == 0,
             "the file system is sound")
