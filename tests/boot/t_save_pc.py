#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""save and restore of the PC board: a boot sector under SeaBIOS reads and writes its disk while it is
saved, on IDE, virtio and NVMe, with a screen, a floppy drive and an empty CD drive beside; then OVMF
with its variables, saved in its start; then a firmware that is not the one of before."""
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time

import screen
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")


def save(vm, state):
    status, _, err = vt.vigia("save", "pc", state)
    vt.check(status == 0, f"saved {err.strip()}")
    vm.process.wait(20)


def rounds(state, args, what, expect):
    vm = vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--name", "pc", *args)
    with vm:
        vm.expect(expect, 60)
        time.sleep(random.uniform(0, 0.3))
        save(vm, state)
    for i in range(2):
        with vt.restored(state) as vm:
            for _ in range(2):
                vm.expect(expect, 60)
            vt.check(b"WRONG" not in vm.output, f"{what}: goes on, round {i + 1}")
            time.sleep(random.uniform(0, 0.3))
            save(vm, state)


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        boot, state = w.file("boot.bin"), w.file("pc.state")
        subprocess.run(["nasm", "-f", "bin", "-o", boot, os.path.join(HERE, "ticker.asm")], check=True)
        with open(boot, "rb") as f:
            image = f.read() + b"".join(struct.pack("<H", n) * 256 for n in range(1, 64))
        floppy = w.file("floppy", size=1440 << 10)
        for kind in ("ide", "ahci", "virtio", "nvme"):
            disk = w.file("disk", image, 1 << 20)
            beside = ["--floppy", floppy, "--cdrom", "none"] if kind == "ide" else []
            rounds(state, ["--disk", f"{disk},if={kind},format=raw", "--boot", "disk", *beside], kind,
                   r"alive [0-9A-F]{4}")
        # The screen.
        vm = vt.VM("--board", "pc", "--net", "none", "--name", "pc", "--display", "vga", "--boot", "disk",
                   "--disk", f"{disk},if=ide,format=raw,ro")
        with vm:
            time.sleep(1)
            screen.expect("pc", "WRONG")  # the disk is read-only: the text stays as it is
            save(vm, state)
        with vt.restored(state) as vm:
            time.sleep(1)
            screen.expect("pc", "WRONG")
            vt.check(True, "the text, which nobody draws again, is still there")
            vm.process.kill()
        # Firmware of another version: refused before the guest runs.
        other = w.file("bios.bin", open(BIOS, "rb").read())
        vm = vt.VM("--board", "pc", "--net", "none", "--name", "pc", "--firmware", other,
                   "--disk", f"{disk},if=ide,format=raw", "--boot", "disk")
        with vm:
            vm.expect(r"alive [0-9A-F]{4}", 60)
            save(vm, state)
        with open(other, "r+b") as f:
            f.write(b"\1")
        status, _, err = vt.vigia("restore", state)
        vt.check(status == 1 and "firmware" in err, f"refused: {err.strip()}")
        if not os.path.exists(OVMF):
            print("without OVMF: the package ovmf is not there")
            return
        variables = w.file("vars")
        vm = vt.VM("--board", "pc", "--net", "none", "--memory", "128M", "--name", "pc", "--firmware", "uefi",
                   "--vars", variables)
        with vm:
            time.sleep(1.5)
            save(vm, state)
        with vt.restored(state) as vm:
            vm.expect(r"Press .*ESC.* in . seconds", 120)
            vm.send("\x1b")
            vm.expect(r"Shell>", 60)
            vm.send("set vigia porthole\r")
            vm.expect(r"Shell>", 30)
            save(vm, state)
        with vt.restored(state) as vm:
            vm.send("set vigia\r")  # before the state is loaded
            vm.expect(r"vigia .*= .*porthole", 30)
            vt.check(True, "UEFI goes on, with its variable")


if __name__ == "__main__":
    main()
