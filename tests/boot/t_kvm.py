#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The engine kvm beside soft: a PC that masks A20, and system management mode, whose suite (tests/guest/smm.asm)
says the same under both; on this host's /dev/kvm, as far as it goes, and where KVM really executes: in the rig (tests/rig)."""
import os
import re
import shutil
import subprocess
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

BIOS = "/usr/share/seabios/bios-256k.bin"
VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin"
HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.path.join(vt.ROOT, "tests/guest")
GOOD = 33  # of a guest that has written 10H to its exit port

SCRIPT = r"""
vm() { name=$1; shift; timeout -s KILL 60 vigia run --engine kvm --sandbox off --history none --net none --memory 64M \
    --exit-port 0xf4 "$@" </dev/null >/tmp/out 2>&1; echo "RIG $name: status $? $(grep -o '[0-9]* rows.*' /tmp/out)"; }
dmesg -n 1
vm a20 --board pc --disk /g/a20.img,if=ide,format=raw
vm smm --board pc --disk /g/smm.img,if=ide,format=raw
vm mb1 --kernel /g/mb1.elf --append 'vigia test'
vm deadline32 --kernel /g/deadline32.elf --append 'vigia test'
"""


def assemble(w, source, name, *options):
    out = w.file(name)
    subprocess.run(["nasm", "-f", "bin", "-i", GUESTS + "/", *options, "-o", out, source], check=True)
    with open(out, "rb") as f:
        return f.read()


def bootable(w, suite):
    """A disk that loads a suite."""
    body = assemble(w, f"{GUESTS}/{suite}.asm", suite)
    sector = assemble(w, f"{GUESTS}/boot.asm", "sector", f"-DSECTORS={(len(body) + 511) // 512}")
    return w.file(f"{suite}.img", sector + body, 1 << 20)


def run(disk, engine):
    r = subprocess.run([vt.VIGIA, "run", "--board", "pc", "--engine", engine, "--net", "none", "--memory", "64M", "--exit-port", "0xf4",
                        "--history", "none", "--disk", f"{disk},if=ide,format=raw"], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=120 * vt.PATIENCE, check=False)
    return r.returncode, r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        a20 = w.file("a20.img", assemble(w, f"{HERE}/a20.asm", "a20"), 1 << 20)
        smm = bootable(w, "smm")
        engines = ["soft"] + (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else [])
        for engine in engines:
            status, text = run(a20, engine)
            vt.check(status == GOOD, f"A20 on the engine {engine} {'' if status == GOOD else text[-2000:]}")
        _, text = run(smm, "soft")
        rows = re.search(r"\d+ rows, 0 failed, 0 skipped", text)
        vt.check(rows, "the suite of system management mode on soft")
        for suite in ("mb1", "deadline32"):
            assemble(w, f"{GUESTS}/{suite}.asm", f"{suite}.elf")
        r = rig.Rig([a20, smm, w.file("mb1.elf"), w.file("deadline32.elf")], SCRIPT)
        r.files.update({BIOS: BIOS, VGA_BIOS: VGA_BIOS})
        text = r.run(180)
        print("\n".join(line for line in text.splitlines() if "RIG" in line))
        if "RIG kvm" not in text:
            vt.skip("this host's QEMU gives no nested virtualization")
        vt.check(f"RIG a20: status {GOOD}" in text, "A20 where KVM executes")
        vt.check(f"RIG smm: status 1 {rows.group()}" in text, "system management mode where KVM executes, row by row as on soft")
        vt.check("RIG mb1: status 1 16 rows, 0 failed" in text, "a multiboot kernel where KVM executes")
        vt.check("RIG deadline32: status 1 7 rows, 0 failed" in text, "deadlines of a guest that has set its TSC")


if __name__ == "__main__":
    main()
