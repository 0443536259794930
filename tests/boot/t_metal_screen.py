#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor on the machine's own screen and keyboard: VGA's text where the loader left that, else the loader's frame
buffer, as under UEFI; from an image on a disk (t_metal.py has it on a CD). The shell is there, takes keys, and a key goes to a VM and back; a panic is told."""
import os
import re
import time

import screen
import vigia_test as vt
from baremetal import QEMU, Machine, Monitor, assemble, need, pack, small

OVMF = "/usr/share/OVMF/OVMF_CODE.fd"

need(QEMU, "nasm", "grub-mkrescue", "xorriso")


def dots_font():
    """Glyphs of 16 rows, as metal/screen.c draws those of metal/font.h."""
    with open(os.path.join(vt.ROOT, "metal/font.h"), encoding="ascii") as f:
        values = [int(v, 16) for v in re.findall("0x([0-9a-f]{2})", f.read())]
    rows = [values[i:i + 7] for i in range(0, len(values), 7)]
    font = {}
    for i, glyph in reversed(list(enumerate(rows))):
        drawn = [0] + [glyph[y // 2] << 2 for y in range(14)] + [0]
        font[bytes(drawn)] = chr(32 + i)
    return font


def read(monitor, work, font):
    w, h, rows = monitor.screen(work.file("screen.ppm"))
    return f"{w} x {h}\n" + "\n".join(line for line in screen.text_of(rows, w, h, font, 9 if w == 720 else 8) if line)


def until(monitor, work, font, pattern, seconds):
    limit = time.monotonic() + seconds * vt.PATIENCE
    while True:
        text = read(monitor, work, font)
        if re.search(pattern, text):
            return text
        if time.monotonic() > limit:
            vt.fail(f"{pattern!r} is not on the screen:\n{text}")
        time.sleep(1)


def try_it(work, name, fleet, font, *options):
    monitor = Monitor(work, name)
    with Machine(fleet, "-vga", "std", *monitor.options(), *options) as vm:
        vm.expect(r"small: triple fault", 240)
        until(monitor, work, font, r"small: triple fault of vCPU 0", 60)
        print(f"ok: {name}: what is said is on the screen, too")
        monitor.type("help\n")
        until(monitor, work, font, r"pause +NAME +hold a VM's processors", 60)
        print(f"ok: {name}: the shell takes keys of the keyboard")
        monitor.ask("sendkey alt-f2")
        until(monitor, work, font, r"small: Ctrl-A 0 goes back to the shell", 60)
        monitor.ask("sendkey ctrl-a")
        monitor.type("0")
        monitor.type("list\n")
        until(monitor, work, font, r"1 small +crashed", 60)
        print(f"ok: {name}: a key goes to a VM, and back to the shell")
        if name == "bios":
            monitor.type("poweroff\n")
            vm.wait(60)
            return
        monitor.ask("nmi")  # which is nobody's
        vm.expect(r"vigia: panic: exception 2 \(NMI\)[^*]*rip [0-9a-f]{16}[^*]*r15 [0-9a-f]{16}[^*]*\*\*\* All virtual machines are stopped", 60)
        until(monitor, work, font, r"(?s)panic: exception 2 \(NMI\).*All virtual machines are stopped", 60)
        print(f"ok: {name}: a panic says on the serial port and on the screen what was the matter, with registers")


with vt.Workdir() as work:
    fleet = small("small", assemble(work.file("metal"), "boot/metal.asm"))
    image, module = pack(work.file("vigia.img"), fleet), pack(work.file("vigia.cpio"), fleet)
    try_it(work, "text", module, screen.bios_font())
    try_it(work, "bios", image, screen.bios_font())
    if not os.path.exists(OVMF):
        vt.skip(f"UEFI is not tried: {OVMF} is missing: tools/packages test")
    try_it(work, "uefi", image, dots_font(), "-bios", OVMF)
