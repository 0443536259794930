#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A disk of the machine that stops answering, behind each of the bare-metal hypervisor's drivers: after half a minute it is cut off,
and its guest is told of errors; the others, the shell and a guest on another disk meanwhile, go on as before."""
import time

import nbdserver
import vigia_test as vt
from baremetal import QEMU, Machine, need, on_disks

MIB = 1 << 20
DISKS = {
    "virtio0": "virtio-blk-pci,drive=%s,disable-legacy=on",
    "ahci0": "ide-hd,drive=%s,bus=ide.1",
    "nvme0": "nvme,drive=%s,serial=SN-nvme0",
}

need(QEMU)
with vt.Workdir() as work:
    image = on_disks(work, [*DISKS, "virtio1"])
    args, servers = [], {}
    for name, device in DISKS.items():
        path, servers[name] = nbdserver.start(work.path, name, 16 * MIB, 12 * MIB)
        args += ["-blockdev", f"driver=nbd,node-name={name},server.type=unix,server.path={path}", "-device", device % name]
    args += ["-drive", f"if=none,id=good,format=raw,file={work.file('good.raw', size=16 * MIB)}", "-device",
             "virtio-blk-pci,drive=good,disable-legacy=on"]
    with Machine(image, *args, memory=768, smp=2) as vm:
        for name in [*DISKS, "virtio1"]:
            vm.said(rf"on-{name}\| VIGIA disk ok", 400)
        print("ok: all disks work at first")
        vm.position = len(vm.output)
        for name in DISKS:
            vm.to(f"on-{name}")
            vm.shell("(dd if=/dev/vda of=/dev/null bs=64k skip=208 count=1 iflag=direct 2>/dev/null; echo VIGIA read ends with $?) & true", 60)
        vm.to()
        limit = time.monotonic() + 60 * vt.PATIENCE
        while not all(s.stalled for s in servers.values()) and time.monotonic() < limit:
            time.sleep(0.1)
        vt.check(all(s.stalled for s in servers.values()), "then all but one stop answering")
        longest, rounds = 0.0, 0
        while not all(f"{name} does not answer".encode() in vm.output for name in DISKS):
            began = time.monotonic()
            vm.to("on-virtio1")
            status, _ = vm.shell("dd if=/dev/vda of=/tmp/x bs=64k count=32 iflag=direct && dd if=/tmp/x of=/dev/vda bs=64k oflag=direct", 60)
            vm.to()
            if status:
                vt.fail("a guest on another disk does not read and write")
            vm.send("log\n")  # what was said while the guest had the console
            vm.expect(r"vigia> ", 60)
            longest, rounds = max(longest, time.monotonic() - began), rounds + 1
            if time.monotonic() > limit + 120 * vt.PATIENCE:
                vt.fail("disks are not cut off")
        print(f"ok: until they are cut off the other has {rounds} rounds, which take {longest:.1f} s at most")
        vt.check(longest < 20 * vt.PATIENCE, "it does not wait for the others' disks")
        for name in DISKS:
            vm.to(f"on-{name}")
            vm.expect(r"VIGIA read ends with [1-9]", 120)
        vm.to()
        print("ok: guests are told of errors")
        vm.position = start = len(vm.output)
        vm.send("disks\n")
        for name in [*DISKS, "virtio1"]:
            vm.position = start
            vm.expect(rf"{name} +16 MiB [^\n]*" + (r" cut off" if name in DISKS else r"\d errors\s"), 60)
        vm.send("stats\n")
        before = int(vm.expect(r"memory (\d+) of \d+ MiB free", 60)[1])
        for name in DISKS:
            vm.send(f"kill on-{name}\n")
            vm.expect(rf"on-{name}: killed", 120)
            vm.send(f"start on-{name}\n")
            vm.expect(rf"on-{name}: .*disk {name}", 120)
        print("ok: who has such a disk can be ended, and does not start again")
        vm.send("stats\n")
        free = int(vm.expect(r"memory (\d+) of \d+ MiB free", 60)[1])
        vt.check(free < before + 96, f"what such a disk may still write to is nobody's: {before} MiB were free, {free} are")
        vm.send("list\n")
        vm.expect(r"on-virtio1 +running", 60)
        vm.send("poweroff\n")
        vm.expect(r"powering off", 60)  # QEMU itself waits for the answers
