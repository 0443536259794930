#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Board details: PVH boot of the kernel's ELF, memory sizes, 8 CPUs, CPU models, virtio console."""
import re
import subprocess
import tempfile

import vigia_test as vt


def boot(*args, cmd="vigia.run=cpus", expect=r"VIGIA cpus=(\d+)", console="console=ttyS0"):
    with vt.VM("--net", "none", *args, "--kernel", kernel, "--initrd", initrd,
               "--append", f"{console} {cmd}") as vm:
        m = vm.expect(expect, 180)
        vm.wait(60)
        return m


kernel, initrd = vt.kernel(), vt.initramfs()
vt.check(boot("--cpus", "8", "--memory", "1G").group(1) == b"8", "8 CPUs")
boot("--memory", "128M")
print("ok: 128 MiB")
boot("--memory", "5G")
print("ok: 5 GiB, RAM beyond 4 GiB")
for model in ("x86-64-v1", "x86-64-v2", "x86-64-v3"):
    status, _, err = 0, "", ""
    boot("--cpu", model)
    print(f"ok: {model}")
boot("--serial", "none", "--console", "stdio", cmd="vigia.run=modules,cpus,log", console="console=ttyS0 console=hvc0",
     expect=r"Linux version|VIGIA")
print("ok: virtio console")

# The ELF kernel is in the bzImage, compressed; where a PVH note is in it, boot it.
with open(kernel, "rb") as f:
    data = f.read()
for magic, command in ((b"\xfd7zXZ\0", ["xz", "-dc"]), (b"\x28\xb5\x2f\xfd", ["zstd", "-dc"]), (b"\x1f\x8b\x08", ["gzip", "-dc"])):
    at = data.find(magic, 0x200)
    if at < 0:
        continue
    out = subprocess.run(command, input=data[at:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    if out.startswith(b"\x7fELF"):
        with tempfile.NamedTemporaryFile(suffix=".elf") as elf:
            elf.write(out)
            elf.flush()
            kernel = elf.name
            boot()
            print("ok: PVH boot of the ELF kernel")
        break
else:
    print("note: no ELF kernel found in the bzImage: PVH not tried")
