#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor on Intel's VMX: Bochs starts an image of vigia pack by GRUB. A
small guest crashes, one tries to get out, and the suites of protected and long mode run (virtual-8086 mode, tasks,
debug registers, x87 errors by FERR#). Half a minute on an idle machine.

  tests/boot/t_metal_vmx.py --all    on two processors, also the suite of four (t_metal_suites.py has it by SVM, t_metal_guests.py one of 32
                                     by VMX), and Debian's kernel with two vCPUs, which start in real mode, and a disk: minutes more"""
import os
import re
import sys

import vigia_test as vt
from baremetal import assemble, bochs, linux, need_vmx, pack, small

need_vmx("nasm")


def known():
    with open(os.path.join(vt.ROOT, "tests/guest/known-bochs.txt"), encoding="ascii") as f:
        return tuple(line.strip() for line in f if line.strip() and line[0] != "#")


everything = "--all" in sys.argv

with vt.Workdir() as work:
    def guest(source):
        return assemble(work.file(os.path.basename(source)), source, "-DSHOWN=1000")

    fleet = small("small", guest("boot/metal.asm")) + small("probe", guest("boot/metalprobe.asm"))
    fleet += "".join(small(name, guest(f"guest/{name}.asm"), "append: vigia test", memory="64M") for name in ("sys32", "sys64", "ferr32"))
    if everything:
        fleet += linux("linux", "vigia.run=cpus,disk", "cpus: 2", f'disk: ["{work.file("disk.raw", size=8 << 20)}"]')
    image = pack(work.file("vigia.iso"), fleet)
    cpus = 2 if everything else 1  # each takes its part of the instructions, idle or not
    with bochs.Bochs(work, image, cpus=cpus) as vm:
        vm.expect(r"small\| small guest counts 4", 120)
        vm.expect(r"small: triple fault of vCPU 0", 60)
        vm.send("stats\n")
        vm.expect(rf"up \d+ s, {cpus} CPUs", 60)
        print(f"ok: {cpus} processors; the small guest runs and crashes, the hypervisor says so")

        vm.said(r"probe\| all attempts held", 120)
        print("ok: a guest has neither the processor's extension nor memory nor ports of others")
        for suite, most in (("ferr32", 0), ("sys32", 110), ("sys64", 6)):
            rows, failed = (int(n) for n in vm.said(rf"{suite}\| (\d+) rows, (\d+) failed", 600).groups())
            bad = re.findall(rf"{suite}\| FAIL ([^\r\n]*)", vm.output.decode(errors="replace"))
            wrong = [line for line in bad if not line.startswith(known())]
            vt.check(rows > (3000 if most else 8) and len(bad) == failed <= most and not wrong, f"{suite}: {rows} rows, {failed} failed, all of them known"
                     + "".join("\n  " + w for w in wrong))
        if everything:
            vm.said(r"linux\| VIGIA cpus=2", 1500)
            vm.said(r"linux\| VIGIA disk ok", 600)
            print("ok: Debian's kernel with two vCPUs and its disk")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble meanwhile")
    if everything:
        # Rows that last so many ticks would last minutes, as there are 100 million a second
        smp = small("smp64", assemble(work.file("smp64"), "guest/smp64.asm", "-DSHOWN=1000", "-DSLOW=9"), "append: vigia test", "cpus: 4", memory="64M")
        with bochs.Bochs(work, pack(work.file("smp.iso"), smp), cpus=2) as vm:
            m = vm.said(r"smp64\| (\d+) rows, (\d+) failed", 600)
            vt.check(int(m[1]) > 70 and m[2] == b"0", f"smp64: {m[0].decode()}")
