#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A VM that vigia save has stopped goes on under the bare-metal hypervisor on a machine whose TSC has another rate: the guest's goes on at
its own, beside PM timer and HPET, and never backwards from one processor to the other. Where the processor scales (VMX in Bochs'
Skylake) without exits; where it does not (SVM in QEMU, Bochs' Haswell) each look at it is one; and where guests are translated."""
import os
import time

import clocks
import vigia_test as vt
from baremetal import ELF, QEMU, SOFT_ELF, Machine, bochs, entries, missing, need, need_vmx, pack, small

TICKS = 16
LIMIT = 300  # ppm; in a quarter of a second
ICOUNT = ("-icount", "shift=3,sleep=off")  # a TSC of 1 GHz, which goes with the instructions

need(QEMU, "nasm")


def save(work, cpus):
    """A state, the last moment before, and the TSC's rate. Looks that are exits take long, and so do three of them in a row."""
    path = work.file("tsc.state")
    with vt.VM(*clocks.build(work, cpus, "-DTURN=(1 << 25)", "-DNEAR=400000"), "--cpu", "x86-64-v2") as vm:
        first = clocks.all_turn(vm)
        time.sleep(3)
        vm.drain()
        clocks.moment(vm)
        last = clocks.moment(vm)
        status, _, errors = vt.vigia("save", "tsc", path)
        vt.check(status == 0, f"it is saved {errors}")
        vm.process.wait(60)
    pm, _ = clocks.seconds(first, last)
    return path, last, (last.tsc - first.tsc) / pm


def goes_on(vm, what, before, rate, by_processor):
    said = vm.said(r"tsc: its TSC goes at (\d+) MHz, the machine's at (\d+)\s", 120)
    vt.check(abs(int(said[1]) * 1e6 / rate - 1) < 0.01, f"{what}: {said[0].decode().strip()}")
    first = clocks.all_turn(vm)
    began = entries(vm, "tsc")
    vm.position = len(vm.output)
    for _ in range(TICKS):
        last = clocks.moment(vm)
    last = clocks.all_turn(vm)
    pm, hpet = clocks.seconds(first, last)
    now = (last.tsc - first.tsc) / pm
    looks = (entries(vm, "tsc") - began) / pm
    print(f"{what}: {rate / 1e6:.3f} MHz before, {now / 1e6:.3f} now, in {pm:.2f} s of the guest's; {looks:.0f} entries in one")
    vt.check(clocks.ppm(now, rate) < LIMIT and clocks.ppm(hpet, pm) < LIMIT, f"{what}: the guest's TSC goes as before, beside PM timer and HPET")
    vt.check(last.backwards == 0 and first.tsc > before.tsc, f"{what}: never backwards")
    if by_processor is not None:
        vt.check((looks < 20000) == by_processor, f"{what}: it is scaled " + ("by the processor" if by_processor else "at exits"))
    vm.send("poweroff\n")
    vm.expect(r"powering off", 60)


with vt.Workdir() as work:
    run = work.file("run")
    os.mkdir(run, 0o700)
    os.environ["XDG_RUNTIME_DIR"] = run

    def image(name):
        return pack(work.file(name), small("tsc", work.file("tsc32.elf"), f"cpus: {cpus}", "cpu: x86-64-v2", memory="64M"),
                    "--state", f"tsc={path}", "--drop-features")

    cpus = 1  # of which two would hold each other up, as their lock is held by one that is out of the guest nearly always
    path, before, rate = save(work, cpus)
    for what, elf, cpu in (("SVM", ELF, "EPYC,+umip"), ("translated", SOFT_ELF, "max,-svm")):
        if missing(elf=elf):
            continue
        with Machine(image("fleet.cpio"), *ICOUNT, elf=elf, cpu=cpu) as vm:
            goes_on(vm, what, before, rate, None if elf == SOFT_ELF else False)
    need_vmx()
    cpus = 2
    path, before, rate = save(work, cpus)
    for model, scales in (("corei7_skylake_x", True), ("corei7_haswell_4770", False)):
        with bochs.Bochs(work, image("fleet.iso"), cpus, model=model) as vm:
            goes_on(vm, model, before, rate, scales)
