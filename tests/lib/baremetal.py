# SPDX-License-Identifier: ISC
"""What tests of the bare-metal hypervisor share: its image, and what they need beside it."""
import os
import shutil
import socket
import subprocess
import time

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


class Monitor:
    """QEMU's, for a machine that was started with its options()."""

    def __init__(self, work, name="monitor"):
        self.path = os.path.join(work.path, name)
        self.socket = None

    def options(self):
        return ["-monitor", f"unix:{self.path},server=on,wait=off"]

    def ask(self, command):
        if not self.socket:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(60 * vt.PATIENCE)
            self.socket.connect(self.path)
            self._prompt()
        self.socket.sendall(command.encode() + b"\n")
        return self._prompt()

    def _prompt(self):
        said = b""
        while not said.endswith(b"(qemu) "):
            part = self.socket.recv(65536)
            if not part:
                vt.fail("QEMU's monitor has gone")
            said += part
        return said.decode(errors="replace")

    def type(self, text):
        """By the machine's keyboard."""
        names = {" ": "spc", "\n": "ret", "-": "minus", "|": "shift-backslash"}
        for c in text:
            self.ask("sendkey " + (names.get(c) or ("shift-" + c.lower() if c.isupper() else c)))
            time.sleep(0.15)

    def screen(self, path):
        """Width, height and rows of bytes R G B."""
        self.ask(f"screendump {path}")
        with open(path, "rb") as f:
            kind, size, _, data = f.read().split(b"\n", 3)
        w, h = map(int, size.split())
        if kind != b"P6":
            vt.fail(f"a picture of kind {kind}")
        return w, h, [data[y * w * 3:(y + 1) * w * 3] for y in range(h)]
