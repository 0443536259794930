#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""--paravirt hyper-v under Linux' own drivers for it: the clock by the page, frequencies, the APIC by MSRs, in both of
its modes, and timers of its, on two processors. And a boot sector that takes the timers and the interrupt controller apart."""
import os
import re
import shutil
import subprocess

import linuxdisk
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, more, says):
    disk = linuxdisk.make(w, vt.kernel(), image, f"console=ttyS0 vigia.run=clock,smp,log {more}")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--cpus", "2", "--paravirt", "hyper-v", "--boot",
               "disk", "--disk", f"{disk},if=ide,format=raw,snapshot") as vm:
        vm.expect(r"VIGIA clockevent Hyper-V clockevent", 120)
        vm.expect(r"VIGIA clock source=hyperv_clocksource_tsc_page seconds=[23] ", 120)
        vm.expect("VIGIA smp results=2 distinct=1", 60)
        vm.expect("VIGIA end", 60)
        log = vm.output.decode(errors="replace")
        for line in ("Hypervisor detected: Microsoft Hyper-V", "privilege flags low 0xafe", "LAPIC Timer Frequency", *says):
            vt.check(line in log, f"the kernel says {line}")
        ticks = re.search(r"HVS: +(\d+) +(\d+)", log)
        vt.check(ticks and min(map(int, ticks.groups())) > 20, f"timer interrupts on both: {ticks and ticks.group(0)}")
        vm.wait(60)


def bare(w):
    disk = w.file("stimer.img", b"", 1 << 20)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, os.path.join(HERE, "stimer.asm")], check=True)
    os.truncate(disk, 1 << 20)
    ways = [("soft", {}), ("soft", {"VIGIA_SOFT_INTERP": "1"})]
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        ways.append(("kvm", {}))
    for engine, env in ways:
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", "--paravirt", "hyper-v",
                   "--engine", engine, "--disk", f"{disk},if=ide,format=raw,ro", env=env) as vm:
            status = vm.wait(60, None)
        vt.check(status == 33, f"{engine} {'interpreted' if env else ''}: step {status >> 1}, of which 16 is the end")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ata_piix,sd_mod,sr_mod", "--name", "ide")
    with vt.Workdir() as w:
        bare(w)
        linux(w, image, "", ("Using enlightened APIC (x2apic mode)",))
        linux(w, image, "nox2apic", ("Using enlightened APIC (xapic mode)",))


if __name__ == "__main__":
    main()
