#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""stress-ng in a Debian guest, with verification: CPU, memory, disk, fork, context switches, matrices, futexes,
mmap. An hour on 4 CPUs unless told otherwise: tests/long/t_stress.py [SECONDS [CPUS]]. No error in the kernel log."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import vigia_test as vt  # noqa: E402

seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 3600
cpus = sys.argv[2] if len(sys.argv) > 2 else "4"
disk = vt.tool("guest-disk", "--name", "stress", "--include", "stress-ng", "--size", "6G")
base = disk[:-len(".qcow2")]
with vt.VM("--cpus", cpus, "--memory", "1024M", "--net", "user", "--kernel", base + ".vmlinuz",
           "--initrd", base + ".initrd", "--append", "root=/dev/vda rw console=ttyS0",
           "--disk", disk + ",snapshot") as vm:
    print(f"login after {vm.login(600):.1f} s", flush=True)
    status, out = vm.shell("stress-ng --cpu 1 --cpu-method all --vm 1 --vm-bytes 128M --hdd 1 "
                           "--hdd-bytes 64M --fork 2 --switch 2 --matrix 1 --futex 1 --mmap 1 --mmap-bytes 64M "
                           f"--verify --metrics-brief --timeout {seconds}s 2>&1",
                           seconds + 900)
    print(out, flush=True)
    vt.check(status == 0 and "successful run completed" in out, f"stress-ng for {seconds} s on {cpus} CPUs")
    status, out = vm.shell("dmesg --level=emerg,alert,crit,err,warn", 120)
    print("kernel log, warnings and above:", out.strip() or "none", flush=True)
    bad = re.search(r"BUG|Oops|lockup|stall|segfault|general protection|I/O error|EXT4-fs error|corrupt", out)
    vt.check(not bad, "no error in the kernel log")
    vm.send("poweroff\n")
    vm.wait(180)
vt.check(True, "the guest powered off")
