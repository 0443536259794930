#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Board details: PVH boot of the kernel's ELF, memory sizes, 32 CPUs, CPU models, HPET, virtio console."""
import lzma
import tempfile
import zlib

import vigia_test as vt


def boot(*args, cmd="vigia.run=cpus", expect=r"VIGIA cpus=(\d+)"):
    with vt.VM("--net", "none", *args, "--kernel", kernel, "--initrd", initrd,
               "--append", f"console=ttyS0 {cmd}") as vm:
        m = vm.expect(expect, 180)
        vm.wait(60)
        return m


kernel, initrd = vt.kernel(), vt.initramfs()
vt.check(boot("--cpus", "8", "--memory", "1G").group(1) == b"8", "8 CPUs")
m = boot("--cpus", "32", "--memory", "1G", cmd="vigia.run=smp", expect=r"VIGIA smp results=(\d+) distinct=(\d+)")
vt.check(m.groups() == (b"32", b"1"), "32 CPUs, all of them compute")
m = boot("--cpus", "2", cmd="no-kvmclock tsc=unstable clocksource=hpet vigia.run=clock",
         expect=r"VIGIA clock source=(\w+) seconds=(\d+)")
vt.check(m.group(1) == b"hpet" and m.group(2) in (b"2", b"3"), "HPET as the clock")
boot("--memory", "128M")
print("ok: 128 MiB")
boot("--memory", "5G")
print("ok: 5 GiB, RAM beyond 4 GiB")
for model in ("x86-64-v1", "x86-64-v2", "x86-64-v3"):
    boot("--cpu", model)
    print(f"ok: {model}")
for model, la57 in (("host-la57", b"1"), ("host", b"0")):
    m = boot("--cpu", model, cmd="vigia.run=paging", expect=r"VIGIA paging la57=(\d) keys=(\d)")
    vt.check(m.groups() == (la57, b"1"), f"{model}: the kernel uses protection keys and "
             f"{'5' if la57 == b'1' else '4'}-level paging")
with vt.VM("--net", "none", "--serial", "none", "--console", "stdio", "--kernel", kernel, "--initrd", initrd,
           "--append", "console=ttyS0 vigia.run=hvc") as vm:
    vm.expect(r"VIGIA hvc says hello", 120)
    vm.send("whisper\n")
    vm.expect(r"VIGIA hvc heard whisper", 30)
    vm.wait(60)
    print("ok: virtio console, both ways")

# The ELF kernel is in the bzImage, compressed; where a PVH note is in it, boot it.
with open(kernel, "rb") as f:
    data = f.read()
for magic, unpack in ((b"\xfd7zXZ\0", lzma.LZMADecompressor), (b"\x1f\x8b\x08", lambda: zlib.decompressobj(31))):
    at = data.find(magic, 0x200)
    if at < 0:
        continue
    out = unpack().decompress(data[at:])
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
