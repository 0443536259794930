#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A program that chooses its code by the processor's family and model (clones.c) runs under each CPU
model: none must look like a processor with instructions that are not there."""
import os
import re
import subprocess
import tempfile

import vigia_test as vt

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clones.c")

with tempfile.TemporaryDirectory() as tmp:
    program = os.path.join(tmp, "clones")
    subprocess.run(["cc", "-O2", "-static", "-o", program, SOURCE], check=True)
    want = subprocess.run([program], check=True, stdout=subprocess.PIPE).stdout.strip()
    initrd = vt.initramfs("--name", "clones", "--add", program)
    for model in ("x86-64-v1", "x86-64-v3", "host"):
        with vt.VM("--cpu", model, "--net", "none", "--kernel", vt.kernel(), "--initrd", initrd, "--append",
                   "console=ttyS0 quiet vigia.run=clones vigia.end=poweroff") as vm:
            m = vm.expect(r"VIGIA clones (sum=\w+|failed)", 180)
            vt.check(m.group(0) == want, f"{model}: {m.group(0).decode()}, natively {want.decode()}")
            vm.wait(60)
            vt.check(not re.search(rb"invalid opcode", vm.output), f"{model}: no invalid opcode in the kernel log")
