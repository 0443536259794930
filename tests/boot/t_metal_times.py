#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What the bare-metal hypervisor costs, in instructions, by a clock that goes with them (QEMU's -icount): so a figure is
the same on each machine, whatever else that does. tests/bench/metal.py measures the time, too."""
import os
import sys

import vigia_test as vt
from baremetal import QEMU, need

sys.path.insert(0, os.path.join(vt.ROOT, "tests/bench"))
import metal  # noqa: E402

need(QEMU, "nasm")

# Instructions from the guest's CPUID or OUT to its next one: what was measured, and a tenth
EXITS = {"cpuid": 2900, "port": 550}

with vt.Workdir() as work:
    guest = metal.assemble(work.path)
    bare = metal.bare(guest, metal.ICOUNT)
    here, start = metal.metal(work.path, guest, metal.ICOUNT)
    print(f"bare {bare}\nhere {here}\nstart {start} us")
    vt.check(start["small"] <= 50000 and start["large"] <= 50000, "a guest's first instruction is 50 ms after the hypervisor's at most")
    for name, most in EXITS.items():
        vt.check(here[name] <= most, f"{name}: {here[name]} instructions, at most {most}")
    for name in ("integer", "calls", "memory", "pages", "flush"):
        vt.check(here[name] <= bare[name] * 1.02, f"{name}: within 2% of the bare machine")
