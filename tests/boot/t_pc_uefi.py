#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The PC board under OVMF: the UEFI shell starts on the serial port, sees the disk, and a variable
survives into the next run through --vars, with a firmware of the user's too."""
import os
import shutil
import sys

import vigia_test as vt

OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
PROMPT = r"Shell>"


def shell(*args, firmware="uefi"):
    vm = vt.VM("--firmware", firmware, "--net", "none", "--memory", "256M", *args)
    vm.expect(r"Press .*ESC.* in . seconds", 120)
    vm.send("\x1b")
    vm.expect(PROMPT, 60)
    return vm


def command(vm, text, expect):
    vm.send(text + "\r")
    return vm.expect(expect, 60)


def main():
    if not os.path.exists(OVMF):
        vt.skip("needs the package ovmf")
    with vt.Workdir() as w:
        names = w.file("vars.fd")
        image = w.file("disk", b"\0", 1 << 20)
        with shell("--vars", names, "--disk", f"{image},if=ide,format=raw") as vm:
            vt.check(b"Ata(0x0)" in vm.output, "the disk is in the shell's map")
            command(vm, "set vigia porthole", PROMPT)
            vm.send("reset -s\r")
            vm.wait(60)
            print("ok: reset -s powers off")
        own = w.file("own_CODE.fd")
        shutil.copy(OVMF, own)
        with shell("--vars", names, firmware=own) as vm:
            command(vm, "set vigia", r"vigia .*= .*porthole")
            print("ok: the variable is still there")
            vm.send("reset -s\r")
            vm.wait(60)
        with open(names, "rb") as f:
            before = f.read()
        os.unlink(names)
        status, _, err = vt.vigia("run", "--firmware", own, "--vars", names, "--net", "none")
        vt.check(status == 1 and "no template" in err, f"refused: {err.strip()}")
        shutil.copy(OVMF.replace("CODE", "VARS"), w.file("own_VARS.fd"))
        with shell("--vars", names, firmware=own) as vm:
            with open(names, "rb") as f:
                vt.check(len(f.read()) == len(before), "made from the template beside the firmware")


if __name__ == "__main__":
    sys.exit(main())
