#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The golden guest on the bare-metal hypervisor, by SVM, by VMX and translated: what rules record in full there is, number for number,
what every other engine has (t_golden.py). The processor's own classes but CPUID and MSRs have no rules and are not recorded there."""
import os
import re
import time

import vigia_test as vt
from baremetal import ELF, QEMU, SOFT_ELF, Machine, bochs, need, need_vmx, pack, small
from golden import GOLDEN, assemble

need(QEMU, "nasm")

RULES = b"""provide port any record full
provide mmio 0xfee00020 record full
provide msr 0x174 record full
provide cpuid eax 0x40000000 record full
"""
# Of what is alike the last one is kept
LAST = {("port", "write", 0x80): 0x15, ("msr", "write", 0x174): 8}
WANTED = {k: n for k, n in GOLDEN.items() if k[0] != "cpu"}


def fleet(work, out):
    return pack(out, small("small", assemble(work.file("golden.elf")), f"policy: {work.file('rules', RULES)}", memory="64M"))


def qemu(work, elf, cpu):
    return Machine(fleet(work, work.file("fleet.cpio")), elf=elf, cpu=cpu, memory=512)


def run(name, machine):
    with machine as vm:
        vm.expect(r"small: started", 120)
        for _ in range(60):
            vm.send("\nhistory small\n")  # a line of its own, whatever has been typed into; no more than a serial port takes at once
            end = time.monotonic() + 3
            while time.monotonic() < end:
                vm._read(0.2)
            text = vm.output[vm.output.rfind(b"history small"):].decode(errors="replace")  # what was asked before may have come late
            if re.search(r"port +write 0xf4 [^\n]* times[^>]*vigia> ", text):  # the last thing that it does
                break
    got, last = {}, {}
    for cls, op, addr, value, times in re.findall(r"(\w+) +(\w+) 0x([0-9a-f]+) value 0x([0-9a-f]+) by line \d+, (\d+) times", text):
        key = (cls, op, int(addr, 16))
        last[key] = int(value, 16)
        got[key] = got.get(key, 0) + int(times)
    for key in sorted(set(WANTED) | set(got)):
        vt.check(got.get(key) == WANTED.get(key), f"{name}: {key} happened {got.get(key)} times")
    for key, value in LAST.items():
        vt.check(last[key] == value, f"{name}: {key}: the last value is {last[key]:#x}")


with vt.Workdir() as d:
    run("svm", qemu(d, ELF, "EPYC"))
    if os.path.exists(SOFT_ELF):
        run("translated", qemu(d, SOFT_ELF, "qemu64,-svm"))
    need_vmx()
    run("vmx", bochs.Bochs(d, fleet(d, d.file("vigia.iso"))))
