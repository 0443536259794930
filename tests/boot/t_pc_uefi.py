#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The PC board under OVMF, of 4 MiB and of 2: the UEFI shell starts on the serial port, sees the disk, and a
variable survives into the next run through --vars, with a firmware of the user's too."""
import os
import shutil
import sys

import vigia_test as vt

OVMF = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd")
PROMPT = r"Shell>"


def shell(*args, firmware="uefi"):
    # 128 MiB: firmware of 2022 fills more with page tables where CPUID gives physical addresses 46 bits
    vm = vt.VM("--firmware", firmware, "--net", "none", "--memory", "128M", *args)
    vm.expect(r"Press .*ESC.* in . seconds", 120)
    vm.send("\x1b")
    vm.expect(PROMPT, 60)
    return vm


def command(vm, text, expect):
    vm.send(text + "\r")
    return vm.expect(expect, 60)


def power_off(vm):
    vm.send("reset -s\r")
    vm.wait(60)


def variables(w, code, names):
    """A variable set under the firmware file code, with its variables in the file names."""
    own = w.file("own_CODE.fd")
    template = w.file("own_VARS.fd")
    shutil.copy(code, own)
    shutil.copy(code.replace("CODE", "VARS"), template)
    with shell("--vars", names, firmware=own) as vm:
        vt.check(os.path.getsize(names) == os.path.getsize(template), "made from the template beside the firmware")
        command(vm, "set vigia porthole", PROMPT)
        power_off(vm)
        print("ok: reset -s powers off")
    # which of the two it is, the size of the variables tells
    with shell("--vars", names) as vm:
        command(vm, "set vigia", r"vigia .*= .*porthole")
        print("ok: the variable is still there")
        power_off(vm)
    os.unlink(template)
    os.unlink(names)
    status, _, err = vt.vigia("run", "--firmware", own, "--vars", names, "--net", "none")
    vt.check(status == 1 and "no template" in err, f"refused: {err.strip()}")


def main():
    codes = [code for code in OVMF if os.path.exists(code)]
    if not codes:
        vt.skip("needs the package ovmf")
    with vt.Workdir() as w:
        names = w.file("vars.fd")
        image = w.file("disk", b"\0", 1 << 20)
        with shell("--vars", names, "--disk", f"{image},if=ide,format=raw") as vm:
            vt.check(b"Ata(0x0)" in vm.output, "the disk is in the shell's map")
            vt.check(os.path.getsize(names) == os.path.getsize(codes[0].replace("CODE", "VARS")),
                     f"{codes[0]} comes first")
            power_off(vm)
        os.unlink(names)
        for code in codes:
            print(code)
            variables(w, code, names)
        w.file("vars.fd", b"\xff", 4096)
        status, _, err = vt.vigia("run", "--firmware", "uefi", "--vars", names, "--net", "none")
        vt.check(status == 1 and "size" in err, f"refused: {err.strip()}")


if __name__ == "__main__":
    sys.exit(main())
