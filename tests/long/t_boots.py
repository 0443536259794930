#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Boot loaders and firmware that people bring, on the PC board, by what their screens show: GRUB from a floppy, its rescue
CD and floppy, SYSLINUX from a floppy, ISOLINUX from a CD, memtest86+ by it and by UEFI, iPXE's CD that boots Debian's kernel over the network, U-Boot as firmware; kernels of
other kinds, by their serial consoles: Xen with Debian's kernel in its first domain, by BIOS and by UEFI, GNU Mach.

    t_boots.py [grub|grub-rescue|syslinux|isolinux|memtest|memtest-uefi|ipxe|uboot|xen|mach …]

Packages are fetched with apt, as guests.py does (VIGIA_GUESTS keeps them); takes minutes."""
import functools
import glob
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import grub as by_grub  # noqa: E402
import guests  # noqa: E402
import screen  # noqa: E402
import vigia_test as vt  # noqa: E402


def start(name, *args):
    return vt.VM("--board", "pc", "--name", name, "--memory", "256M", "--display", "vga", *args)


def shows(name, what, *args, net=("--net", "none"), timeout=60):
    with start(name, *net, *args) as vm:
        deadline = time.monotonic() + timeout
        while name not in vt.vigia("list")[1] and time.monotonic() < deadline:
            time.sleep(0.2)
        screen.expect(name, what, timeout)
        print(f"ok: {name}: {what}")
        vt.vigia("kill", name)
        vm.wait(30)


def grub(w, _apt):
    config = w.file("grub.cfg", b"echo GRUB says $((6*7)) from $root\nsleep 1000\n".replace(b"$((6*7))", b"hello"))
    core = w.file("core.img")
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(fd0)/", "-c", config, "biosdisk", "echo",
                    "sleep"], check=True)
    with open("/usr/lib/grub/i386-pc/boot.img", "rb") as f, open(core, "rb") as g:
        floppy = w.file("floppy.img", f.read() + g.read(), 1440 << 10)
    shows("grub", "GRUB says hello from fd0", "--floppy", floppy, "--boot", "floppy")


def grub_rescue(w, apt):
    """Debian's own images, to their menus or prompts; the floppy's is shorter than a disk."""
    images = apt.fetch("grub-rescue-pc") + "/usr/lib/grub-rescue/grub-rescue-"
    with open(images + "floppy.img", "rb") as f:
        floppy = w.file("rescue.img", f.read(), 1440 << 10)
    for kind, option, image in (("cd", "--cdrom", images + "cdrom.iso"), ("floppy", "--floppy", floppy)):
        shows(f"rescue-{kind}", "GNU GRUB  version 2", option, image, "--boot", "cdrom,floppy", timeout=120)


def syslinux(w, apt):
    config = w.file("syslinux.cfg", b"SAY Hello from SYSLINUX\nPROMPT 1\n")
    image = w.file("syslinux.img", size=1440 << 10)
    for command in (["mformat", "-i", image, "-f", "1440", "::"], ["mcopy", "-i", image, config, "::"],
                    [apt.fetch("syslinux") + "/usr/bin/syslinux", "--install", image]):
        subprocess.run(command, check=True)
    shows("syslinux", "Hello from SYSLINUX", "--floppy", image, "--boot", "floppy")


def cd(w, apt, config, **files):
    """A CD that ISOLINUX starts."""
    root = os.path.join(w.path, "cd")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    for path in (apt.fetch("isolinux") + "/usr/lib/ISOLINUX/isolinux.bin",
                 apt.fetch("syslinux-common") + "/usr/lib/syslinux/modules/bios/ldlinux.c32", *files.values()):
        shutil.copy(path, root)
    with open(root + "/isolinux.cfg", "w", encoding="ascii") as f:
        f.write(config)
    image = os.path.join(w.path, "cd.iso")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", image, "-b", "isolinux.bin", "-c", "boot.cat",
                    "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", root], check=True)
    return image


def isolinux(w, apt):
    shows("isolinux", "Hello from ISOLINUX", "--cdrom", cd(w, apt, "SAY Hello from ISOLINUX\nPROMPT 1\n"), "--boot",
          "cdrom")


def memtest(w, apt):
    image = cd(w, apt, "DEFAULT mt\nPROMPT 0\nLABEL mt\nKERNEL mt86\n", mt=shutil.copy(
        apt.fetch("memtest86+") + "/boot/memtest86+x64.bin", os.path.join(w.path, "mt86")))
    shows("memtest", "Memtest86+ v6.10", "--cdrom", image, "--boot", "cdrom")


def memtest_uefi(w, apt):
    image = w.file("efi.img", size=16 << 20)
    efi = apt.fetch("memtest86+") + "/boot/memtest86+x64.efi"
    for command in (["mformat", "-i", image, "::"], ["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"],
                    ["mcopy", "-i", image, efi, "::/EFI/BOOT/BOOTX64.EFI"]):
        subprocess.run(command, check=True)
    name, lines, deadline = "memtest-uefi", [], time.monotonic() + 120
    with start(name, "--net", "none", "--firmware", "uefi", "--disk", f"{image},if=ide,format=raw,ro") as vm:
        while not any("test86+" in line for line in lines):  # 80 by 25 characters, mostly of the same font
            if time.monotonic() > deadline:
                vt.fail(f"{name}: the screen shows {lines}")
            time.sleep(1)
            if name in vt.vigia("list")[1] and vt.vigia("screenshot", name, w.file("s.png"))[0] == 0:
                width, height, rows = screen.read_png(w.file("s.png"))
                lines = screen.text_of(rows, width, height, cell=8, top=(height - 400) // 2)
        print(f"ok: {name}: {lines[0].strip()}")
        vt.vigia("kill", name)
        vm.wait(30)


def ipxe(w, apt):
    files = os.path.join(w.path, "www")
    os.makedirs(files)
    shutil.copy(vt.kernel(), files + "/linux")
    shutil.copy(vt.initramfs(), files + "/initrd")
    with open(files + "/boot.ipxe", "w", encoding="ascii") as f:
        f.write("#!ipxe\nkernel linux initrd=initrd quiet vigia.end=shell\ninitrd initrd\nboot\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://10.0.2.2:{server.server_port}/boot.ipxe"
    shows("ipxe", "VIGIA init uptime", "--cdrom", apt.fetch("ipxe") + "/usr/lib/ipxe/ipxe.iso", "--boot", "cdrom",
          net=("--net", f"user,model=e1000,bootfile={url}"), timeout=180)


def uboot(_w, apt):
    rom = apt.fetch("u-boot-qemu") + "/usr/lib/u-boot/qemu-x86/u-boot.rom"
    with start("uboot", "--net", "none", "--firmware", rom) as vm:
        vm.expect(r"U-Boot 20\d\d\.\d\d", 60)
        vm.expect("=>", 60)
        vm.send("version\n")
        vm.expect("Debian", 30)
        print("ok: uboot: its prompt")
        vt.vigia("kill", "uboot")
        vm.wait(30)


def xen(w, apt):
    """Its first domain is paravirtual: Debian's kernel runs in ring 3, its page tables are Xen's to check."""
    image = by_grub.cd_of(w, "multiboot2 /xen dom0_mem=512M console=com1 com1=115200,8n1 noreboot\n"
                          "module2 /linux console=hvc0 quiet vigia.run=cpus,smp,fork\nmodule2 /initrd",
                          xen=glob.glob(apt.fetch("xen-hypervisor-4.17-amd64") + "/boot/xen-*.gz")[0], linux=vt.kernel(), initrd=vt.initramfs())
    for firmware, cpus in (("bios", 2), ("uefi", 4)):
        with vt.VM("--board", "pc", "--memory", "1G", "--cpus", str(cpus), "--net", "none", "--firmware", firmware, "--cdrom", image) as vm:
            vm.expect(r"Xen version 4\.17", 120)
            for said in (f"VIGIA cpus={cpus}", f"VIGIA smp results={cpus} distinct=1", r"VIGIA fork sum=200010000", "VIGIA end"):
                vm.expect(said, 240)
            vt.check(b"(XEN) Panic" not in vm.output and b"Oops" not in vm.output, f"xen by {firmware}: Debian's kernel in its first domain, {cpus} CPUs")
            vm.process.kill()


def mach(w, apt):
    """To where it asks for the Hurd."""
    image = by_grub.cd_of(w, "multiboot /mach console=com0", mach=glob.glob(apt.fetch("gnumach-image-1.8-486") + "/boot/gnumach-*.gz")[0])
    with vt.VM("--board", "pc", "--memory", "256M", "--net", "none", "--cdrom", image) as vm:
        vm.expect("GNU Mach 1.8", 120)
        vm.expect("No bootstrap code loaded with the kernel", 60)
        print("ok: mach: its start, until it misses its servers")
        vm.process.kill()


TESTS = {"grub": grub, "grub-rescue": grub_rescue, "syslinux": syslinux, "isolinux": isolinux, "memtest": memtest,
         "memtest-uefi": memtest_uefi, "ipxe": ipxe, "uboot": uboot, "xen": xen, "mach": mach}


def main():
    with tempfile.TemporaryDirectory() as d:
        apt = guests.Apt(os.path.abspath(os.environ.get("VIGIA_GUESTS", d)))
        apt.update()
        for name in sys.argv[1:] or TESTS:
            with vt.Workdir() as w:
                TESTS[name](w, apt)


if __name__ == "__main__":
    main()
