#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor finds the machine's PCI functions: through ECAM on a q35, behind a bridge and below a second
root too, and through ports on an i440FX."""
from baremetal import QEMU, Machine, need

MACHINES = {
    "q35": (["-device", "pcie-root-port,id=rp,chassis=1,slot=1", "-device", "virtio-rng-pci,bus=rp,disable-legacy=on",
             "-device", "pxb-pcie,id=px,bus_nr=64,bus=pcie.0", "-device", "ioh3420,id=rp2,bus=px,chassis=2,slot=2",
             "-device", "nec-usb-xhci,bus=rp2"],
            [r"00:00\.0 8086:29c0 class 060000", r"00:1f\.2 8086:2922 class 010601", r"0[1-9]:00\.0 1af4:1044",
             r"40:00\.0 8086:3420", r"4[1-9]:00\.0 1033:0194 class 0c0330"]),
    "pc": (["-device", "e1000,addr=5"],
           [r"00:00\.0 8086:1237 class 060000", r"00:01\.1 8086:7010", r"00:05\.0 8086:100e class 020000"]),
}

need(QEMU)
for machine, (args, lines) in MACHINES.items():
    with Machine(None, "-nodefaults", *args, kind=machine, memory=128) as vm:
        vm.expect(r"vigia> ", 60)
        vm.send("pci\n")
        for line in lines:
            vm.expect(line, 30)
        vm.poweroff()
        print(f"ok: the functions of {machine}")
