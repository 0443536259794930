# SPDX-License-Identifier: ISC
"""grub: media that GRUB starts."""
import os
import shutil
import subprocess

import vigia_test as vt

SERIAL = "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
PACKAGES = "needs the packages grub-common, grub-pc-bin, grub-efi-amd64-bin, xorriso, mtools"


def needed():
    if not all(map(shutil.which, ("grub-mkrescue", "grub-mkimage", "xorriso", "mformat"))):
        vt.skip(PACKAGES)


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True, check=False)
    if r.returncode:
        vt.fail(f"{command[0]}: {r.stderr[-500:]}")


def cd(w, kernel, initrd, cmdline):
    """An image with a kernel that BIOS and UEFI start, by the serial port."""
    tree = w.file("cd")
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(os.path.join(tree, "boot/grub"))
    shutil.copy(kernel, os.path.join(tree, "linux"))
    shutil.copy(initrd, os.path.join(tree, "initrd"))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w", encoding="ascii") as f:
        f.write(f"{SERIAL}echo from the CD\nlinux /linux {cmdline} console=ttyS0,115200\ninitrd /initrd\nboot\n")
    image = w.file("boot.iso")
    run("grub-mkrescue", "-o", image, tree)
    return image
