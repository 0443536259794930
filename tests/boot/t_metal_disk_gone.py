#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks of the machine that are pulled out under their guests, behind each of the bare-metal hypervisor's drivers: whatever they are
asked then is an error. Guests are told so, the hypervisor counts and says it, a guest on another disk goes on, and who had such a disk
can be ended, started, and is told again."""
import vigia_test as vt
from baremetal import QEMU, Machine, Monitor, need, on_disks

MIB = 1 << 20
DISKS = {
    "virtio0": "virtio-blk-pci,drive=virtio0,disable-legacy=on",
    "ahci0": "ide-hd,drive=ahci0,bus=ide.1",
    "nvme0": "nvme,drive=nvme0,serial=SN-nvme0",
}
GOOD = "virtio1"
READ = "dd if=/dev/vda of=/dev/null bs=64k skip=%d count=16 iflag=direct"
WRITE = "dd if=/dev/zero of=/dev/vda bs=64k seek=64 count=16 oflag=direct"

need(QEMU)


def errors(vm, name):
    vm.send("disks\n")
    return int(vm.expect(rf"{name} +16 MiB [^\n]* (\d+) errors", 60)[1])


def ask(vm, name, command):
    vm.to(f"on-{name}")
    status, _ = vm.shell(command, 120)
    vm.to()
    return status


with vt.Workdir() as work:
    image = on_disks(work, [*DISKS, GOOD])
    args = []
    for name, device in {**DISKS, GOOD: f"virtio-blk-pci,drive={GOOD},disable-legacy=on"}.items():
        args += ["-drive", f"if=none,id={name},format=raw,file={work.file(name, size=16 * MIB)}", "-device", device]
    monitor = Monitor(work)
    with Machine(image, *args, *monitor.options(), memory=768, smp=2) as vm:
        for name in [*DISKS, GOOD]:
            vm.said(rf"on-{name}\| VIGIA shell", 400)
        vm.position = len(vm.output)
        for name in DISKS:
            vt.check(ask(vm, name, READ % 64) == 0 and errors(vm, name) == 0, f"{name} can be read at first")
            monitor.ask(f"drive_del {name}")
        for name in DISKS:
            # elsewhere than before: a guest may have kept what it has read
            vt.check(ask(vm, name, READ % 128) != 0 and ask(vm, name, WRITE) != 0, f"{name}, which is gone, cannot be read or written: its guest is told")
            vt.check(errors(vm, name) > 0, f"{name}: the hypervisor counts that")
            vt.check(ask(vm, GOOD, f"{READ % 64} && {WRITE}") == 0 and errors(vm, GOOD) == 0, "another disk goes on")
        for name in DISKS:
            vm.send(f"kill on-{name}\n")
            vm.expect(rf"on-{name}: killed", 120)
            vm.send(f"start on-{name}\n")
            vm.expect(rf"on-{name}: (started|[^\r]*disk {name}[^\r]*)\r", 120)
        vt.check(ask(vm, GOOD, f"{READ % 96} && {WRITE}") == 0, "and on, while the others' guests end and start")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble in the hypervisor")
        vm.send("poweroff\n")
        vm.expect(r"powering off", 120)
