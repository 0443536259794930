#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What the bare-metal hypervisor costs, in instructions, by a clock that goes with them (QEMU's -icount; Bochs' always does): so
a figure is the same on each machine, whatever else that does. tests/bench/metal.py measures the time, too."""
import os
import sys

import vigia_test as vt
from baremetal import QEMU, need

for folder in ("tests/bench", "tests/rig"):
    sys.path.insert(0, os.path.join(vt.ROOT, folder))
import bochs  # noqa: E402
import metal  # noqa: E402

need(QEMU, "nasm")

# Instructions from the guest's CPUID or OUT to its next one: what was measured, and a tenth. QEMU's SVM does not say how long a
# CPUID is
EXITS = {"svm": {"cpuid": 1600, "port": 600}, "vmx": {"cpuid": 910, "port": 720}}


def check_exits(kind, here):
    for name, most in EXITS[kind].items():
        vt.check(here[name] <= most, f"{kind}: {name}: {here[name]} instructions, at most {most}")


def check_computing(kind, here):
    for name in ("integer", "calls", "memory", "pages", "flush"):
        vt.check(here[name] <= bare[name] * 1.02, f"{kind}: {name}: within 2% of the bare machine")


with vt.Workdir() as work:
    guest = metal.assemble(work.path)
    bare = metal.bare(guest, metal.ICOUNT)
    here, start = metal.metal(work.path, guest, metal.ICOUNT)
    print(f"bare {bare}\nhere {here}\nstart {start} us")
    vt.check(start["small"] <= 50000 and start["large"] <= 50000, "a guest's first instruction is 50 ms after the hypervisor's at most")
    check_exits("svm", here)
    check_computing("svm", here)
    if bochs.missing():
        print(f"not under VMX: {bochs.missing()} is missing")
    else:
        here = metal.vmx(work, guest)
        print(f"vmx {here}")
        check_exits("vmx", here)
        check_computing("vmx", here)
