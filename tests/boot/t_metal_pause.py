#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Two vCPUs of a guest that wait for each other with PAUSE, on one processor of the bare-metal hypervisor, by VMX (Bochs): who waits
gives the processor to the other at once, not at the end of its slice. QEMU's SVM has no pause filter."""
import os

import vigia_test as vt
from baremetal import assemble, bochs, need_vmx, pack, small

# Of 2000 times that one waits for the other, in 1024 ticks: what slices would take is some 1,000,000
MOST = 200000

need_vmx("nasm")

with vt.Workdir() as work:
    guest = assemble(work.file("pair"), "boot/pair.asm", "-i", os.path.join(vt.ROOT, "tests/guest") + "/")
    image = pack(work.file("vigia.iso"), small("pair", guest, "cpus: 2", memory="64M"))
    with bochs.Bochs(work, image) as vm:
        took = int(vm.said(r"pair\| token: kiloticks(\d+)\s", 300)[1])
        vt.check(took < MOST, f"{took} kiloticks")
