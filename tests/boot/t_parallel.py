#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The PC's parallel port: a boot sector prints by INT 17H, and by itself with interrupts; what comes is in the
file that --parallel names."""
import os
import shutil
import subprocess

import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        boot, paper = w.file("boot.bin"), w.file("paper")
        subprocess.run(["nasm", "-f", "bin", "-o", boot, os.path.join(HERE, "lpt.asm")], check=True)
        os.truncate(boot, 1 << 20)
        with vt.VM("--board", "pc", "--net", "none", "--memory", "32M", "--exit-port", "0xf4", "--boot", "disk",
                   "--disk", f"{boot},if=ide,format=raw,ro", "--parallel", f"file:{paper}") as vm:
            vm.wait(60, status=33)
        with open(paper, "rb") as f:
            text = f.read()
        vt.check(text == b"printed by the BIOS\nprinted by hand\n", f"what has been printed: {text!r}")


if __name__ == "__main__":
    main()
