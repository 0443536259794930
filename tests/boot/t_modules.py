#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What --initrd gives a kernel beside itself: Multiboot kernels of both versions their modules, in order, on pages of their own, with
their texts; Linux, where each file is an archive, packed or not, all that is in them, after a reset too. The same on the
bare-metal hypervisor, where the image has them."""
import gzip
import os
import subprocess

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, missing, pack, small

SIZES = (1, 4095, 4096, 5000)


def modules(w):
    """Files of these sizes, and what the guest has to say of them, given the texts."""
    paths = []
    for i, size in enumerate(SIZES):
        paths.append(w.file(f"m{i},x"))  # a comma in its name
        with open(paths[-1], "wb") as f:
            f.write((b"%d" % i * 4).ljust(size, b".")[:size])
    return paths


def option(paths, texts):
    return ",".join(p.replace(",", ",,") + (f",text={t.replace(',', ',,')}" if t else "") for p, t in zip(paths, texts))


def multiboot(w, paths, version):
    kernel = assemble(w.file(f"mods{version}"), "boot/mods.asm", *(["-DSECOND"] if version == 2 else []))
    texts = ("", "/boot/m1 root=hd0,msdos1 x", "", "t" * 200)
    with vt.VM("--net", "none", "--kernel", kernel, "--initrd", option(paths, texts), "--memory", "16M") as vm:
        said(vm, texts, version)
        vm.wait(30, 2)
    with vt.VM("--net", "none", "--kernel", kernel, "--memory", "16M") as vm:
        vm.expect(r"order\r?\nend of modules", 30)
        vt.check(b"module 0" not in vm.output, f"version {version}: without --initrd there are none")
        vm.wait(30, 2)
    many = option([paths[0]] * 16, ["x" * 30] * 16)
    with vt.VM("--net", "none", "--kernel", kernel, "--initrd", many, "--memory", "16M") as vm:
        vm.expect(r"end of modules", 30)
        vt.check(vm.output.count(b"x" * 30) == 16, f"version {version}: 16 of them, the same file each")
        vm.wait(30, 2)
    for given, why in ((option([paths[0]] * 17, [""] * 17), "at most 16 files"), (option([paths[0]], ["x" * 9000]), "texts of this length"),
                       (option(paths[:2] + ["/nonexistent/m"], [""] * 3), "No such file"), ("text=a", "behind a file name"),
                       (option(paths[:1], ["a"]) + ",text=b", "once for each"), ("", "is empty"), (f"{kernel},,,{kernel}", "No such file")):
        status, _, errors = vt.vigia("run", "--net", "none", "--kernel", kernel, "--memory", "16M", "--initrd", given, timeout=60)
        vt.check(status == 1 and why in errors, f"version {version}: --initrd {given[-40:]}: {errors.strip()[-100:]}")
    return kernel


def said(vm, texts, version):
    for i, (size, text) in enumerate(zip(SIZES, texts)):
        first = (b"%d" % i * 4).ljust(size, b".")[:min(size, 4)].decode()
        vm.expect(rf"module {size:08x} 00000000 {first}.* {text}\r?\n", 60)
    vm.expect(r"order[\s\S]{1,40}end of modules", 30)  # on bare metal with the VM's name between
    print(f"ok: version {version}: {len(SIZES)} modules")


def archive(w, name, text, packed):
    """A cpio archive of one file."""
    with open(w.file(name), "w", encoding="ascii") as f:
        f.write(text)
    out = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=w.path, input=name.encode(), stdout=subprocess.PIPE, check=True).stdout
    path = w.file(name + ".cpio")
    with open(path, "wb") as f:
        f.write(gzip.compress(out) if packed else out.rstrip(b"\0") + b"\0")  # of no even length, so that zeros have to come between
    return path


def linux(w):
    archives = [archive(w, "first", "1st", False), archive(w, "second", "2nd", True), archive(w, "third", "3rd", False)]
    vt.check(all(os.path.getsize(a) % 4 for a in archives[:1]), "the first archive ends between words")
    given = ",".join([archives[0], vt.initramfs(), *archives[1:]])
    with vt.VM("--net", "none", "--kernel", vt.kernel(), "--initrd", given, "--memory", "192M", "--append",
               "console=ttyS0 quiet vigia.end=shell") as vm:
        for start in ("start", "reset"):
            vm.expect(r"VIGIA shell", 120)
            _, out = vm.shell("cat /first /second /third; echo")
            vt.check("1st2nd3rd" in out, f"Linux has the files of all four archives after its {start}")
            vm.send("reboot -f\n" if start == "start" else "poweroff -f\n")
        vm.wait(60)
    status, _, errors = vt.vigia("run", "--net", "none", "--kernel", vt.kernel(), "--initrd", vt.initramfs() + ",text=x", timeout=60)
    vt.check(status == 1 and "no Multiboot kernel" in errors, f"a text for Linux: {errors.strip()}")


def bare(w, paths, kernel):
    why = missing(QEMU)
    if why:
        print(f"not on bare metal: {why}")
        return
    texts = ("", "/boot/m1 x", "", "t" * 40)
    image = pack(w.file("fleet.cpio"), small("mods", kernel, f'initrd: "{option(paths, texts)}"'))
    with Machine(image) as vm:
        said(vm, texts, "bare metal, 1")
    long = option(paths, ("t" * 300, "t" * 300, "", ""))
    definition = w.file("long.yaml")
    with open(definition, "w", encoding="ascii") as f:
        f.write(small("mods", kernel, f'initrd: "{long}"'))
    status, _, errors = vt.vigia("pack", definition, "-o", w.file("long.cpio"))
    vt.check(status and "512 characters" in errors, f"texts that an image does not take: {errors.strip()}")


with vt.Workdir() as work:
    files = modules(work)
    first = multiboot(work, files, 1)
    multiboot(work, files, 2)
    linux(work)
    bare(work, files, first)
vt.check(True, "modules arrive")
