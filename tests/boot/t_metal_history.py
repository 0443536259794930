#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor's history on a disk: an image of a volume takes what VMs and operators did, over restarts of the
machine, and the oldest gives way; vigia volume history shows it."""
import os
import re
import subprocess

import vigia_test as vt
from baremetal import ELF, QEMU, need


need(QEMU, "nasm")


def run(*args, status=0):
    r = subprocess.run([vt.VIGIA, *args], capture_output=True, text=True, check=False)
    if r.returncode != status:
        vt.fail(f"vigia {' '.join(args)}: status {r.returncode}: {r.stderr}")
    return r.stdout + r.stderr


def lines(store):
    """The history, by lines, each of which has a time not before the last one's."""
    got = run("volume", "history", store, "past").splitlines()
    times = [line.split()[0] for line in got]
    vt.check(times == sorted(times) and all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times),
             f"{len(got)} lines in the order of time")
    return [line.split(" ", 1)[1] for line in got]


with vt.Workdir() as work:
    small = work.file("metal.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", small, os.path.join(vt.ROOT, "tests/boot/metal.asm")], check=True)
    store, out = work.file("store.raw", size=2 << 20), work.file("fleet.cpio")
    run("volume", "format", store)
    run("volume", "add", store, "before", "8K")
    run("volume", "add", store, "past", "4K")
    vt.check("no history" in run("volume", "history", store, "past", status=1), "at first there is none")
    definition = f"- name: small\n  kernel: {small}\n  memory: 16M\n  net: [none]\n"
    fleet = work.file("fleet.yaml", definition.encode())
    bad = work.file("bad.yaml", (definition + '  disk: ["host:virtio0//past"]\n').encode())
    vt.check("is the history's" in run("pack", bad, "-o", out, "--history", "host:virtio0//past", status=1),
             "no VM has the history's area")
    run("pack", fleet, "-o", out, "--history", "past", status=1)
    run("pack", fleet, "-o", out, "--history", "host:virtio0//past")

    def machine():
        return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "q35", "-m", "256", "-display", "none",
                              "-serial", "stdio", "-monitor", "none", "-no-reboot", "-device", "intel-iommu,intremap=off", "-drive",
                              f"if=none,id=d,format=raw,file={store}", "-device", "virtio-blk-pci,drive=d,iommu_platform=on,disable-legacy=on",
                              "-kernel", ELF, "-initrd", out])

    with machine() as vm:
        vm.expect(r"small: crashed", 120)
        vm.send("poweroff\n")
        vm.wait(60)
    first = lines(store)
    vt.check(first[0] == "vigia the hypervisor has started", "the first line is the start's")
    for what in ("lifecycle started", "console   small guest counts 0", "console   small guest counts 4", "lifecycle crashed at rip"):
        vt.check(any(line.startswith("small " + what) for line in first), f"{what}: it is on the disk")
    with machine() as vm:
        vm.expect(r"small: crashed", 120)
        for n in range(9):
            vm.send("start small\n")
            while vm.expect(r"small (runs already)\s|small: (crashed)\s", 60)[1]:
                vm.send("start small\n")  # its end was said before all of it had gone
        vm.send("pause small\n")
        vm.expect(r"does not run", 60)
        vm.send("poweroff\n")
        vm.wait(60)
    second = lines(store)
    text = "\n".join(second)
    vt.check(text.count("guest counts 4") >= 3 and second[-1].startswith("small ") and "small operator  pause" in text,
             "what came last is there")
    vt.check(len(second) > 40 and "has started" not in text, "and the oldest has given way")
    with open(store, "rb") as f:
        f.seek(131072)
        vt.check(f.read(8192) == bytes(8192), "the image beside it is as it was")
