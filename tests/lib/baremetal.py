# SPDX-License-Identifier: ISC
"""What tests of the bare-metal hypervisor share: its image, and what they need beside it."""
import os
import shutil
import subprocess

import vigia_test as vt

QEMU = "qemu-system-x86_64"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "metal")
ELF = os.path.join(FOLDER, "vigia.elf")
SOFT_ELF = os.path.join(FOLDER, "vigia-soft.elf")


def missing(*programs, elf=ELF):
    """What is not there; None: all is."""
    for program in programs:
        if not shutil.which(program):
            return f"{program} is missing: tools/packages test"
    if os.path.exists(elf):
        return None
    return f"no {elf}: builds with sanitizers have none" + (", nor those with -Dmetal_soft=false" if elf == SOFT_ELF else "")


def need(*programs, elf=ELF):
    """Skips the test where a program or the image is not there."""
    why = missing(*programs, elf=elf)
    if why:
        vt.skip(why)


def on_disks(work, names):
    """An image that boots a Debian kernel on each of these disks, which are the machine's; each writes and reads its own."""
    text = "".join(f"""
- name: on-{name}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=disk vigia.end=shell
  memory: 96M
  net: [none]
  disk: ["host:{name}"]
""" for name in names)
    image = work.file("fleet.iso")
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", image], check=True, stdout=subprocess.DEVNULL)
    return image
