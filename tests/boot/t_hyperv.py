#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""--paravirt hyper-v under Linux' own drivers for it: the clock by the page, frequencies, the APIC by MSRs, in both of
its modes, on two processors."""
import os
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, more, says):
    disk = linuxdisk.make(w, vt.kernel(), image, f"console=ttyS0 vigia.run=clock,smp,log {more}")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--cpus", "2", "--paravirt", "hyper-v", "--boot",
               "disk", "--disk", f"{disk},if=ide,format=raw,snapshot") as vm:
        vm.expect(r"VIGIA clock source=hyperv_clocksource_tsc_page seconds=[23] ", 120)
        vm.expect("VIGIA smp results=2 distinct=1", 60)
        vm.expect("VIGIA end", 60)
        log = vm.output.decode(errors="replace")
        for line in ("Hypervisor detected: Microsoft Hyper-V", "privilege flags low 0xaf2", "LAPIC Timer Frequency", *says):
            vt.check(line in log, f"the kernel says {line}")
        vm.wait(60)


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ata_piix,sd_mod,sr_mod", "--name", "ide")
    with vt.Workdir() as w:
        linux(w, image, "", ("Using enlightened APIC (x2apic mode)",))
        linux(w, image, "nox2apic", ("Using enlightened APIC (xapic mode)",))


if __name__ == "__main__":
    main()
