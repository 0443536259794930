#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor on Intel's VMX: Bochs with two processors starts an image of vigia pack by GRUB. A
small guest crashes, one tries to get out, and the suites of protected and long mode run (virtual-8086 mode, tasks,
debug registers). A minute on an idle machine.

  tests/boot/t_metal_vmx.py --linux    also Debian's kernel with two vCPUs, which start in real mode, and a disk:
                                       two minutes more"""
import os
import re
import subprocess
import sys

import vigia_test as vt
from baremetal import need

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import bochs  # noqa: E402

need("nasm", "grub-mkrescue", "xorriso")
if bochs.missing():
    vt.skip(f"{bochs.missing()} is missing: tools/packages test")


def assemble(work, source):
    path = os.path.join(vt.ROOT, "tests", source)
    out = work.file(os.path.basename(source) + ".bin")
    subprocess.run(["nasm", "-f", "bin", "-DSHOWN=1000", "-i", os.path.dirname(path) + "/", "-o", out, path], check=True)
    return out


def known():
    with open(os.path.join(vt.ROOT, "tests/guest/known-bochs.txt"), encoding="ascii") as f:
        return tuple(line.strip() for line in f if line.strip() and line[0] != "#")


vms = [("small", "boot/metal.asm", "16M", ""), ("probe", "boot/metalprobe.asm", "16M", ""),
       ("sys32", "guest/sys32.asm", "64M", "append: vigia test"), ("sys64", "guest/sys64.asm", "64M", "append: vigia test")]
linux = "--linux" in sys.argv

with vt.Workdir() as work:
    image = work.file("vigia.iso")
    vms = [(name, assemble(work, source), memory, more) for name, source, memory, more in vms]
    if linux:
        vms.append(("linux", vt.kernel(), "96M", f"""initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=cpus,disk vigia.end=shell
  cpus: 2
  disk: ["{work.file("disk.raw", size=8 << 20)}"]"""))
    text = "".join(f"""
- name: {name}
  kernel: {kernel}
  memory: {memory}
  net: [none]
  {more}
""" for name, kernel, memory, more in vms)
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", image], check=True,
                   stdout=subprocess.DEVNULL)
    with bochs.Bochs(work, image, cpus=2) as vm:
        vm.expect(r"small\| small guest counts 4", 120)
        vm.expect(r"small: triple fault of vCPU 0", 60)
        vm.send("stats\n")
        vm.expect(r"up \d+ s, 2 CPUs", 60)
        print("ok: two processors; the small guest runs and crashes, the hypervisor says so")

        def said(pattern, timeout):
            """Lines of the guests come in any order."""
            vm.position = 0
            return vm.expect(pattern, timeout)

        said(r"probe\| all attempts held", 120)
        print("ok: a guest has neither the processor's extension nor memory nor ports of others")
        for suite, most in (("sys32", 110), ("sys64", 6)):
            rows, failed = (int(n) for n in said(rf"{suite}\| (\d+) rows, (\d+) failed", 600).groups())
            bad = re.findall(rf"{suite}\| FAIL ([^\r\n]*)", vm.output.decode(errors="replace"))
            wrong = [line for line in bad if not line.startswith(known())]
            vt.check(rows > 3000 and len(bad) == failed <= most and not wrong, f"{suite}: {rows} rows, {failed} failed, all of them known"
                     + "".join("\n  " + w for w in wrong))
        if linux:
            said(r"linux\| VIGIA cpus=2", 1500)
            said(r"linux\| VIGIA disk ok", 600)
            print("ok: Debian's kernel with two vCPUs and its disk")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble meanwhile")
