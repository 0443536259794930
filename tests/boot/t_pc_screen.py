#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The screen of the PC board, by screenshots: text, mode 13h and a VBE mode that a boot sector of our own
sets through Debian's VGA BIOS; then how it is refused."""
import os
import shutil
import subprocess

import screen
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = ["/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin"]


def want_text(x, y):
    return b"\xff\xff\xff" if 20 * 9 <= x < 30 * 9 and 80 <= y < 96 else None


def want_13(x, y):
    low = (320 * (y // 2) + x // 2) & 15
    on = 0xff if low & 8 else 0xaa
    off = 0x55 if low & 8 else 0
    rgb = [on if low & bit else off for bit in (4, 2, 1)]
    if low == 6:  # brown
        rgb[1] = 0x55
    return bytes(rgb)


def want_vbe(x, y):
    low = (0x4060 + 4 * (1024 * y + x)) & 0xffff
    return bytes([0x20, low >> 8, low & 255]) if y < 16 else b"\0\0\0"


def picture(w, mode, size, want, step):
    sector = w.file(f"s{mode:x}.bin")
    subprocess.run(["nasm", "-f", "bin", f"-DMODE={mode}", "-o", sector, os.path.join(HERE, "screen.asm")],
                   check=True)
    with open(sector, "rb") as f:
        image = w.file(f"s{mode:x}.img", f.read(), 1 << 20)
    name, png = f"screen-{os.getpid()}", w.file("s.png")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display", "vga", "--name", name,
               "--disk", f"{image},if=ide,format=raw") as vm:
        vm.expect("DRAWN", 60)
        status, _, err = vt.vigia("screenshot", name, png)
        vt.check(status == 0, f"screenshot: {err}")
    got_w, got_h, rows = screen.read_png(png)
    vt.check((got_w, got_h) == size, f"mode {mode:x}: {got_w} x {got_h}")
    for y in range(0, got_h, step):
        for x in range(0, got_w, step):
            expected = want(x, y)
            got = rows[y][3 * x:3 * x + 3]
            if expected is not None and got != expected:
                vt.fail(f"mode {mode:x}: dot {x},{y} is {got.hex()}, not {expected.hex()}")
    print(f"ok: mode {mode:x}")


def main():
    if not shutil.which("nasm") or not all(os.path.exists(b) for b in BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        picture(w, 3, (720, 400), want_text, 3)
        picture(w, 0x13, (640, 400), want_13, 3)
        picture(w, 0x144, (1024, 768), want_vbe, 5)
        status, _, err = vt.vigia("run", "--kernel", "k", "--display", "vga")
        vt.check(status == 1 and "needs a PC" in err, f"a screen without a PC: {err}")


main()
