#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""An installation in short: from a CD that GRUB starts by BIOS and by UEFI, a small system partitions an empty disk, makes
file systems, takes a system from the user network and installs GRUB. The machine starts again from that disk, and one
can log in. tests/long/t_installer.py does the same with Debian.

    t_install.py [all | FIRMWARE,DISK …]     all: each disk with each firmware"""
import io
import os
import subprocess
import sys
import tarfile

import grub
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "installed"
DISKS = {"ide": "/dev/sda", "ahci": "/dev/sda", "nvme": "/dev/nvme0n1", "virtio": "/dev/vda"}
SHORT = (("bios", "ide"), ("bios", "ahci"), ("uefi", "nvme"), ("uefi", "virtio"))
FIRMWARE = {"bios": "/usr/share/seabios/bios-256k.bin", "uefi": "/usr/share/OVMF/OVMF_CODE_4M.fd"}
MODULES = "ata_piix,ahci,sd_mod,nvme,e1000,vfat,nls_cp437,nls_ascii"
GRUB_MODULES = ("part_msdos", "ext2", "search", "search_fs_file", "normal", "configfile", "linux", "serial", "terminal", "echo")
ETC = {
    "hostname": NAME + "\n",
    "passwd": "root::0:0:root:/root:/bin/sh\n",
    "rc": "mount -t proc proc /proc\nmount -t sysfs sys /sys\nhostname -F /etc/hostname\n",
    "inittab": "::sysinit:/bin/sh /etc/rc\nttyS0::respawn:/bin/getty -L 115200 ttyS0 vt100\n",
}


def partition(firmware, disk):
    device = DISKS[disk]
    return device + ("p" if device[-1].isdigit() else "") + ("2" if firmware == "uefi" else "1")


def package(w, firmware, disk, kernel, initrd):
    """What is installed, as a tar."""
    start = w.file("start.cfg", b"search --set=root --file /etc/hostname\nset prefix=($root)/boot/grub\nnormal\n")
    files = {f"etc/{name}": text.encode() for name, text in ETC.items()}
    config = (f"{grub.SERIAL}echo from the disk\nlinux /boot/vmlinuz console=ttyS0,115200 rdinit=/bin/setup "
              f"setup.root={partition(firmware, disk)}\ninitrd /boot/initrd\nboot\n")
    files["boot/grub/grub.cfg"] = config.encode()
    core = w.file("core")
    if firmware == "uefi":
        grub.run("grub-mkimage", "-O", "x86_64-efi", "-o", core, "-p", "/boot/grub", "-c", start, *GRUB_MODULES)
    else:
        grub.run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "/boot/grub", "-c", start, "biosdisk", *GRUB_MODULES)
        vt.check(os.path.getsize(core) < 2047 * 512, "GRUB fits before the first partition")
    paths = {"boot/vmlinuz": kernel, "boot/initrd": initrd, f"boot/grub/core.{'efi' if firmware == 'uefi' else 'img'}": core,
             "boot/grub/boot.img": "/usr/lib/grub/i386-pc/boot.img"}
    for name, path in paths.items():
        with open(path, "rb") as f:
            files[name] = f.read()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def install(w, firmware, disk, kernel, initrd):
    server = vt.WebServer(package(w, firmware, disk, kernel, initrd))
    cd = grub.cd(w, kernel, initrd, f"rdinit=/bin/setup setup.disk={DISKS[disk]} setup.firmware={firmware} "
                                    f"setup.from={server.guest_url}")
    image = w.file(f"{firmware}-{disk}.qcow2")
    status, _, err = vt.vigia("image", "create", image, "512M")
    vt.check(not status, f"vigia image create {err}")
    options = ["--vars", w.file(f"{disk}.vars")] if firmware == "uefi" else []
    with vt.VM("--firmware", firmware, *options, "--memory", "512M", "--net", "user,model=e1000", "--boot", "disk,cdrom",
               "--cdrom", cd, "--disk", f"{image},if={disk}") as vm:
        vm.expect("from the CD", 120)
        if vm.expect(r"SETUP (done|failed.*)", 240).group(1) != b"done":
            vm.give_up("the installation has failed")
        vm.expect("from the disk", 120)
        vm.expect(rf"{NAME} login: ", 120)
        vm.send("root\n")
        vm.expect(r"# ", 60)
        vm.send("stty -echo; PS1=\n")
        vm.shell("true")
        _, out = vm.shell("cat /proc/cmdline /proc/mounts; test -d /sys/firmware/efi && echo by UEFI; dmesg | grep -i 'i/o error'")
        vt.check(f"setup.root={partition(firmware, disk)}" in out, f"{firmware}, {disk}: it runs from its disk")
        vt.check(("by UEFI" in out) == (firmware == "uefi"), "started by its firmware")
        vt.check("I/O error" not in out, "no I/O error")
        vm.send("sync; poweroff -f\n")
        vm.wait(60)
    subprocess.run(["qemu-img", "check", "-q", image], check=True)


def main():
    grub.needed()
    pairs = [arg.split(",") for arg in sys.argv[1:]] or SHORT
    if sys.argv[1:] == ["all"]:
        pairs = [(f, d) for f in FIRMWARE for d in DISKS]
    initrd = vt.initramfs("--add", f"{HERE}/setup", "--modules", MODULES, "--name", "setup")
    with vt.Workdir() as w:
        for firmware, disk in pairs:
            if os.path.exists(FIRMWARE[firmware]):
                install(w, firmware, disk, vt.kernel(), initrd)
            else:
                print(f"without {firmware}: needs the packages seabios and ovmf")


if __name__ == "__main__":
    main()
