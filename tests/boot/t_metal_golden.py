#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The golden guest on the bare-metal hypervisor, by SVM, by VMX and translated: what rules record in full there is, number for number,
what every other engine has (t_golden.py). The processor's own classes but CPUID and MSRs have no rules and are not recorded there."""
import os
import re
import subprocess
import sys
import time

import vigia_test as vt
from baremetal import ELF, QEMU, SOFT_ELF, missing, need
from golden import GOLDEN, assemble

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import bochs  # noqa: E402

need(QEMU, "nasm")

RULES = b"""provide port any record full
provide mmio 0xfee00020 record full
provide msr 0x174 record full
provide cpuid eax 0x40000000 record full
"""
# Of what is alike the last one is kept
LAST = {("port", "write", 0x80): 0x15, ("msr", "write", 0x174): 8}
# The processor gives the guest SYSENTER's MSRs itself
BY_PROCESSOR = {k: n for k, n in GOLDEN.items() if k[0] in ("port", "mmio", "cpuid")}
TRANSLATED = {k: n for k, n in GOLDEN.items() if k[0] != "cpu"}


def pack(work, out):
    fleet = work.file("fleet.yaml", f"- name: small\n  kernel: {assemble(work.file('golden.elf'))}\n  memory: 64M\n  net: [none]\n"
                                    f"  policy: {work.file('rules', RULES)}\n".encode())
    subprocess.run([vt.VIGIA, "pack", fleet, "-o", out], check=True, stdout=subprocess.DEVNULL)
    return out


def qemu(work, elf, cpu):
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", cpu, "-M", "q35", "-m", "512", "-display", "none", "-serial",
                          "stdio", "-monitor", "none", "-no-reboot", "-kernel", elf, "-initrd", pack(work, work.file("fleet.cpio"))])


def run(name, machine, golden):
    with machine as vm:
        vm.expect(r"small: started", 120)
        for _ in range(60):
            begin = len(vm.output)
            vm.send("\nhistory small\n")  # a line of its own, whatever has been typed into
            end = time.monotonic() + 3
            while time.monotonic() < end:
                vm._read(0.2)
            text = vm.output[begin:].decode(errors="replace")
            if re.search(r"port +write 0xf4 [^\n]* times", text):  # the last thing that it does
                break
    got, last = {}, {}
    for cls, op, addr, value, times in re.findall(r"(\w+) +(\w+) 0x([0-9a-f]+) value 0x([0-9a-f]+) by line \d+, (\d+) times", text):
        key = (cls, op, int(addr, 16))
        last[key] = int(value, 16)
        got[key] = got.get(key, 0) + int(times)
    for key in sorted(set(golden) | set(got)):
        vt.check(got.get(key) == golden.get(key), f"{name}: {key} happened {got.get(key)} times")
    for key, value in LAST.items():
        if key in golden:
            vt.check(last[key] == value, f"{name}: {key}: the last value is {last[key]:#x}")


with vt.Workdir() as d:
    run("svm", qemu(d, ELF, "EPYC"), BY_PROCESSOR)
    if os.path.exists(SOFT_ELF):
        run("translated", qemu(d, SOFT_ELF, "qemu64,-svm"), TRANSLATED)
    lacks = bochs.missing() or missing("grub-mkrescue", "xorriso")
    if lacks:
        print(f"not under VMX: {lacks}")
    else:
        run("vmx", bochs.Bochs(d, pack(d, d.file("vigia.iso"))), BY_PROCESSOR)
