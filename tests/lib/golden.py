# SPDX-License-Identifier: ISC
"""golden.py: what golden.asm does, for tests of what each engine's history has of it."""
import os
import subprocess

import vigia_test as vt

# class, operation, address: how many
GOLDEN = {
    ("cpu", "CR0", 0): 1, ("cpu", "CR4", 0): 1, ("cpu", "GDTR", 0): 1, ("cpu", "IDTR", 0): 1, ("cpu", "TR", 0): 1,
    ("cpu", "#UD", 0): 3, ("cpu", "#DE", 0): 1, ("cpu", "#PF", 0): 2, ("cpu", "#GP", 0): 1,
    ("cpu", "INVLPG", 0): 4, ("cpu", "DR", 0): 1,
    ("cpuid", "eax", 0x40000000): 3,
    ("msr", "write", 0x174): 1, ("msr", "read", 0x174): 2,
    ("port", "write", 0x80): 5, ("port", "read", 0x84): 2, ("port", "write", 0xf4): 1,
    ("mmio", "read", 0xfee00020): 2,
}
VALUES = {("port", "write", 0x80): 0x11, ("msr", "write", 0x174): 8, ("cpu", "CR4", 0): 0x10}


def assemble(to):
    boot = os.path.join(vt.ROOT, "tests/boot")
    subprocess.run(["nasm", "-f", "bin", "-i", os.path.join(vt.ROOT, "tests/guest") + "/", "-o", to, os.path.join(boot, "golden.asm")],
                   check=True)
    return to
