#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The screen of the PC board, by screenshots: text, the graphics modes of CGA, EGA and VGA, mode 13h also unchained with
panning and a split screen, and a VBE mode, which a boot sector of our own sets through Debian's VGA BIOS; what is
to be seen is computed from the IBM VGA reference. Then how a screen is refused."""
import base64
import json
import os
import shutil
import subprocess
import time

import screen
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = ["/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin"]


def want_text(x, y):
    return b"\xff\xff\xff" if 20 * 9 <= x < 30 * 9 and 80 <= y < 96 else None


def rgb16(low):
    """One of the 16 colours that a palette begins with."""
    on = 0xff if low & 8 else 0xaa
    off = 0x55 if low & 8 else 0
    rgb = [on if low & bit else off for bit in (4, 2, 1)]
    if low == 6:  # brown
        rgb[1] = 0x55
    return bytes(rgb)


def want_13(x, y):
    return rgb16((320 * (y // 2) + x // 2) & 15)


def cga(mode):
    """Dots of two bits, or one in mode 6; odd lines 8 KiB on. Colours: the brighter palette."""
    def want(x, y):
        line = y // 2
        bits = 1 if mode == 6 else 2
        dot = x if mode == 6 else x // 2
        at = (line & 1) * 0x2000 + line // 2 * 80 + dot * bits // 8
        byte = (at & 0xff) * 5 & 0xff
        value = byte >> (8 - bits - dot * bits % 8) & (1 << bits) - 1
        return rgb16(value * 15) if mode == 6 else rgb16((0, 11, 13, 15)[value])
    return want


def planar(width, doubled):
    """Bit p of a dot's colour is a bit of plane p."""
    def want(x, y):
        dot, line = (x // 2 if width == 320 else x), (y // 2 if doubled else y)
        at = line * (width // 8) + dot // 8
        return rgb16(sum(((at & 0xff) * (2 * p + 1) >> (7 - dot % 8) & 1) << p for p in range(4)))
    return want


def want_x(x, y):
    """START, PAN and SPLIT of screen.asm: what is behind the split begins at address 0."""
    dot, start, line = x // 2 + 2, 80 * 10 + 5, y // 2
    if y > 299:
        dot, start, line = x // 2, 0, (y - 300) // 2
    at = start + line * 80 + dot // 4
    return rgb16((at * 4 + (at >> 8) + dot % 4) & 15)


def want_vbe(x, y):
    low = (0x4060 + 4 * (1024 * y + x)) & 0xffff
    return bytes([0x20, low >> 8, low & 255]) if y < 16 else b"\0\0\0"


def picture(w, mode, size, want, step, *options, old=False):
    sector = w.file(f"s{mode:x}.bin")
    subprocess.run(["nasm", "-f", "bin", f"-DMODE={mode}", *options, "-o", sector, os.path.join(HERE, "screen.asm")],
                   check=True)
    with open(sector, "rb") as f:
        image = w.file(f"s{mode:x}.img", f.read(), 1 << 20)
    name, png = f"screen-{os.getpid()}" + "-old" * old, w.file("s.png")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display", "vga", "--name", name,
               "--disk", f"{image},if=ide,format=raw") as vm:
        vm.expect("DRAWN", 60)
        status, _, err = vt.vigia("screenshot", name, png)
        vt.check(status == 0, f"screenshot: {err}")
        time.sleep(0 if old else 1.5)  # the history looks once a second
        status, _, err = vt.vigia(*(("save", name, w.file("state")) if old else ("kill", name)))
        vt.check(status == 0, f"the VM has ended {err}")
        vm.process.wait(30)
    got_w, got_h, rows = screen.read_png(png)
    if old:
        restored(w, name, (got_w, got_h, rows))
    vt.check((got_w, got_h) == size, f"mode {mode:x}: {got_w} x {got_h}")
    for y in range(0, got_h, step):
        for x in range(0, got_w, step):
            expected = want(x, y)
            got = rows[y][3 * x:3 * x + 3]
            if expected is not None and got != expected:
                vt.fail(f"mode {mode:x}: dot {x},{y} is {got.hex()}, not {expected.hex()}")
    print(f"ok: mode {mode:x}")
    if not old:
        history(w, name, mode, size, rows)


def restored(w, name, picture_before):
    """The guest does not draw again: memory and registers of the screen are all there is."""
    with vt.restored(w.file("state")) as vm:
        deadline = time.monotonic() + 30 * vt.PATIENCE
        while vt.vigia("screenshot", name, w.file("again.png"))[0] and time.monotonic() < deadline:
            time.sleep(0.1)
        vt.check(screen.read_png(w.file("again.png")) == picture_before, "restored, it shows the same")
        vt.vigia("kill", name)
        vm.process.wait(30)


def history(w, name, mode, size, rows):
    """The history has the screen, smaller: its last picture is of this mode, and as the screenshot was."""
    folder = os.path.join(w.path, name)
    status, out, err = vt.vigia("history", name, "--screens", folder)
    files = sorted(os.listdir(folder), key=lambda f: int(f.split("-")[0]))
    vt.check(status == 0 and out == f"{len(files)} pictures\n" and files, f"pictures in the history: {files} {err}")
    status, out, err = vt.vigia("history", name, "--json", "--sql", "SELECT width, height FROM screens ORDER BY seq")
    sizes = [tuple(json.loads(line).values()) for line in out.splitlines()]
    vt.check(len(sizes) == len(files) and sizes[-1] == size, f"their sizes: {sizes} {err}")
    vt.check(all(a != b for a, b in zip(sizes, sizes[1:])), "one for each change of mode, within ten seconds")
    n = -(-max(size) // 320)
    small_w, small_h, small = screen.read_png(os.path.join(folder, files[-1]))
    vt.check((small_w, small_h) == (-(-size[0] // n), -(-size[1] // n)), f"the picture is {small_w} x {small_h}")
    for y, x in ((0, 0), (1, 7), (small_h // 2, small_w // 2), (small_h - 1, small_w - 1)):
        square = [rows[v][3 * u:3 * u + 3] for v in range(y * n, min(y * n + n, size[1]))
                  for u in range(x * n, min(x * n + n, size[0]))]
        mean = bytes((sum(dot[c] for dot in square) + len(square) // 2) // len(square) for c in range(3))
        vt.check(small[y][3 * x:3 * x + 3] == mean, f"dot {x},{y} is the mean of its square")
    page = w.file("page.html")
    status, _, err = vt.vigia("history", name, "--html", page)
    with open(page, encoding="utf-8") as f:
        data = json.loads(f.read().split('id="data">')[1].split("</script>")[0])
    with open(os.path.join(folder, files[-1]), "rb") as f:
        vt.check(status == 0 and base64.b64decode(data["pictures"][-1]["png"]) == f.read() and
                 data["pictures"][-1]["size"] == f"{size[0]} x {size[1]}", f"the page has it too {err}")
    status, out, err = vt.vigia("history", name, "--verify")
    vt.check(status == 0, f"it verifies {err}")


def main():
    if not shutil.which("nasm") or not all(os.path.exists(b) for b in BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        picture(w, 3, (720, 400), want_text, 3)
        picture(w, 0x13, (640, 400), want_13, 3)
        picture(w, 0x13, (640, 400), want_x, 3, "-DX=1", old=True)
        for mode in (4, 5, 6):
            picture(w, mode, (640, 400), cga(mode), 3, old=True)
        picture(w, 0x0d, (640, 400), planar(320, True), 3, old=True)
        picture(w, 0x0e, (640, 400), planar(640, True), 3, old=True)
        picture(w, 0x10, (640, 350), planar(640, False), 3, old=True)
        picture(w, 0x12, (640, 480), planar(640, False), 3, old=True)
        picture(w, 0x144, (1024, 768), want_vbe, 5)
        picture(w, 0x144, (1024, 768), want_vbe, 5, old=True)
        status, _, err = vt.vigia("run", "--kernel", "k", "--display", "vga")
        vt.check(status == 1 and "needs a PC" in err, f"a screen without a PC: {err}")


main()
