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


def cd_of(w, config, **files):
    """An image that BIOS and UEFI start, by the serial port."""
    tree = w.file("cd")
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(os.path.join(tree, "boot/grub"))
    for name, path in files.items():
        shutil.copy(path, os.path.join(tree, name))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w", encoding="ascii") as f:
        f.write(f"{SERIAL}echo from the CD\n{config}\nboot\n")
    image = w.file("boot.iso")
    run("grub-mkrescue", "-o", image, tree)
    return image


def cd(w, kernel, initrd, cmdline):
    """One with a kernel."""
    return cd_of(w, f"linux /linux {cmdline} console=ttyS0,115200\ninitrd /initrd", linux=kernel, initrd=initrd)
