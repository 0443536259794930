#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor's history on a disk: an image of a volume takes what VMs and operators did, over restarts of the
machine, and the oldest gives way; vigia volume history shows it."""
import re

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, need, pack, small

need(QEMU, "nasm")


def run(*args, status=0):
    got, out, err = vt.vigia(*args)
    if got != status:
        vt.fail(f"vigia {' '.join(args)}: status {got}: {err}")
    return out + err


def lines(store):
    """The history, by lines, each of which has a time not before the last one's."""
    got = run("volume", "history", store, "past").splitlines()
    times = [line.split()[0] for line in got]
    vt.check(times == sorted(times) and all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times),
             f"{len(got)} lines in the order of time")
    return [line.split(" ", 1)[1] for line in got]


with vt.Workdir() as work:
    store = work.file("store.raw", size=2 << 20)
    run("volume", "format", store)
    run("volume", "add", store, "before", "8K")
    run("volume", "add", store, "past", "4K")
    vt.check("no history" in run("volume", "history", store, "past", status=1), "at first there is none")
    counts = assemble(work.file("metal"), "boot/metal.asm")
    bad = work.file("bad.yaml", small("small", counts, 'disk: ["host:virtio0//past"]').encode())
    vt.check("is the history's" in run("pack", bad, "-o", work.file("bad.cpio"), "--history", "host:virtio0//past", status=1),
             "no VM has the history's area")
    fleet = pack(work.file("fleet.cpio"), small("small", counts), "--history", "host:virtio0//past")
    run("pack", fleet + ".yaml", "-o", work.file("bad.cpio"), "--history", "past", status=1)

    def machine():
        return Machine(fleet, "-device", "intel-iommu,intremap=off", "-drive", f"if=none,id=d,format=raw,file={store}",
                       "-device", "virtio-blk-pci,drive=d,iommu_platform=on,disable-legacy=on", memory=256)

    with machine() as vm:
        vm.expect(r"small: crashed", 120)
        vm.poweroff()
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
        vm.poweroff()
    second = lines(store)
    text = "\n".join(second)
    vt.check(text.count("guest counts 4") >= 3 and second[-1].startswith("small ") and "small operator  pause" in text,
             "what came last is there")
    vt.check(len(second) > 40 and "has started" not in text, "and the oldest has given way")
    with open(store, "rb") as f:
        f.seek(131072)
        vt.check(f.read(8192) == bytes(8192), "the image beside it is as it was")
