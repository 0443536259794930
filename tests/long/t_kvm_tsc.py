#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""TSC scaling by KVM (KVM_CAP_TSC_CONTROL), which the rig's EPYC has not: Debian's kernel with kvm-intel on Bochs' Skylake. A state from a host whose
TSC has another frequency goes on there under --engine kvm, beside PM timer and HPET at the rate that it had. Some minutes, most of which are the
kernel's start."""
import os
import subprocess
import sys
import time

import clocks
import grub
import statefile
import vigia_test as vt
from baremetal import need_vmx

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import bochs  # noqa: E402
import rig  # noqa: E402

MODEL, HZ = "corei7_skylake_x", 3.5e9
LIMIT = 300  # ppm

SCRIPT = r"""
dmesg -n 1
vigia doctor | grep 'TSC scaling'
vigia restore --engine kvm /g/tsc.state </dev/null 2>&1
"""
LOOKS = 16


def save(work):
    """A state, the last moment before, and the TSC's rate. Interrupts are on: Bochs lets none of the host's in where a guest has them off."""
    path = work.file("tsc.state")
    with vt.VM(*clocks.build(work, 1, "-DTURN=(1 << 25)", "-DNEAR=400000", "-DOPEN"), "--memory", "16M", "--cpu", "x86-64-v2", "--history", "none",
               "--sandbox", "off") as vm:
        first = clocks.all_turn(vm)
        time.sleep(3)
        vm.drain()
        clocks.moment(vm)
        last = clocks.moment(vm)
        status, _, errors = vt.vigia("save", "--compress", "tsc", path)
        vt.check(status == 0, f"it is saved {errors}")
        vm.process.wait(60)
    pm, _ = clocks.seconds(first, last)
    return path, last, (last.tsc - first.tsc) / pm


def image(work, state):
    subprocess.run(["strip", "-o", work.file("vigia"), vt.VIGIA], check=True)  # a CD in Bochs is slow
    # The folder and the kernel are where the state has them; /tmp is empty there.
    there = f"mkdir -p {os.getcwd()} {work.path}; cp /g/tsc32.elf {work.path}\n"
    machine = rig.Rig([state, work.file("tsc32.elf")], there + SCRIPT, programs=[work.file("vigia")], modules=rig.INTEL_MODULES)
    os.mkdir(work.file("rig"))
    initrd = machine.pack(work.file("rig"))
    subprocess.run(["gzip", "-1", initrd], check=True)
    return grub.cd(work, vt.kernel(), initrd + ".gz", machine.append)


def main():
    need_vmx("nasm", "strip")
    grub.needed()
    with vt.Workdir() as work:
        run = work.file("run")
        os.mkdir(run, 0o700)
        os.environ["XDG_RUNTIME_DIR"] = run
        state, before, rate = save(work)
        if clocks.ppm(rate, HZ) < 10000:  # as Bochs'
            statefile.other_rate(state, 1.25)
            rate *= 1.25
        with bochs.Bochs(work, image(work, state), memory=1024, model=MODEL) as vm:
            vm.expect(r"TSC scaling +yes", 1200)
            print("ok: KVM says that it can scale")
            said = vm.expect(r"its TSC goes at (\d+) MHz, the host's at (\d+)\s", 120)
            vt.check(abs(int(said[1]) * 1e6 / rate - 1) < 0.001, said[0].decode())
            first = clocks.all_turn(vm)
            for _ in range(LOOKS):
                last = clocks.moment(vm)
            pm, hpet = clocks.seconds(first, last)
            now = (last.tsc - first.tsc) / pm
            print(f"{rate / 1e6:.3f} MHz before, {now / 1e6:.3f} now, in {pm:.2f} s of the guest's")
            vt.check(clocks.ppm(now, rate) < LIMIT and clocks.ppm(hpet, pm) < LIMIT, "under KVM the guest's TSC goes as before, beside PM timer and HPET")
            vt.check(last.backwards == 0 and first.tsc > before.tsc, "never backwards")


if __name__ == "__main__":
    main()
