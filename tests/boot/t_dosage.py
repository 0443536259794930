#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What programs of DOS' age do with the machine, by dosage.asm: the sound port, a floppy by controller and DMA chip, the
BIOS in virtual-8086 mode under a monitor; as translated and as interpreted."""
import os
import shutil
import struct
import subprocess

import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        code = w.file("dosage.bin")
        subprocess.run(["nasm", "-f", "bin", "-o", code, os.path.join(HERE, "dosage.asm")], check=True)
        with open(code, "rb") as f:
            disk = w.file("disk", f.read(), 1 << 20)
        floppy = w.file("floppy", b"".join(struct.pack("<H", n) * 256 for n in range(2880)))
        for interp in (False, True):
            env = dict(os.environ, VIGIA_SOFT_INTERP="1") if interp else None
            with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", "--boot", "disk",
                       "--floppy", floppy, "--disk", f"{disk},if=ide,format=raw", env=env) as vm:
                for part in ("sound", "floppy", "v86"):
                    vm.expect(f"{part} ok", 30)
                    print(f"ok: {part}")
                vm.wait(10, status=33)


if __name__ == "__main__":
    main()
