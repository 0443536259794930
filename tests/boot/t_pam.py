#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Shadow memory of the 82441FX: a boot sector goes through the read and write bits of PAM0 and PAM3, on every engine that is
there."""
import os
import shutil
import subprocess

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = "/usr/share/seabios/bios-256k.bin"


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    ways = [("soft", {}), ("soft", {"VIGIA_SOFT_INTERP": "1"})]
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        ways.append(("kvm", {}))
    with vt.Workdir() as w:
        disk = w.file("pam.img", b"", 1 << 20)
        subprocess.run(["nasm", "-f", "bin", "-o", disk, os.path.join(HERE, "pam.asm")], check=True)
        os.truncate(disk, 1 << 20)
        for engine, env in ways:
            with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", "--engine", engine,
                       "--disk", f"{disk},if=ide,format=raw,ro", env=env) as vm:
                status = vm.wait(60, None)
            vt.check(status == 33, f"{engine} {'interpreted' if env else ''}: step {status >> 1}, of which 16 is the end")


if __name__ == "__main__":
    main()
