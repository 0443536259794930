#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What the history has of a PC: its firmware's words, a picture of the screen at each change of mode and at most every ten
seconds while what it shows changes (a blinking cursor is none), what was saved, and a crash with the registers."""
import json
import os
import re
import shutil
import subprocess

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = f"seen-{os.getpid()}"
BIOS = ["/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin"]
TEXT, GRAPHICS, PLANES = (720, 400), (640, 400), (640, 480)


def sql(text):
    status, out, err = vt.vigia("history", NAME, "--json", "--sql", text)
    vt.check(status == 0, f"{text[:50]} {err}")
    return [json.loads(line) for line in out.splitlines()]


def guest(w):
    sector = w.file("modes.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", sector, os.path.join(HERE, "modes.asm")], check=True)
    with open(sector, "rb") as f:
        image = w.file("modes.img", f.read(), 1 << 20)
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display", "vga", "--name", NAME,
               "--disk", f"{image},if=ide,format=raw") as vm:
        vm.expect("s", 120)
        status, _, err = vt.vigia("snapshot", "save", NAME, "first")
        vt.check(status == 1 and "qcow2" in err, f"a raw disk has no snapshots: {err.strip()}")
        vm.expect("e", 120)
        vm.wait(30, 2)


def pictures():
    shown = [(r["t"] / 1e9, (r["width"], r["height"])) for r in
             sql("SELECT t, value>>32 AS width, value&0xffffffff AS height FROM event WHERE seq IN (SELECT seq FROM screens) ORDER BY seq")]
    print(f"pictures: {[(round(t - shown[0][0], 1), size) for t, size in shown]}")
    sizes = [size for _, size in shown]
    first = next(i for i, size in enumerate(sizes) if size == GRAPHICS)
    vt.check(set(sizes[:first]) <= {TEXT, PLANES} and sizes[first:first + 4] == [GRAPHICS, GRAPHICS, PLANES, TEXT],
             "one of each mode, also where two are of one size")
    times = [t for t, _ in shown]
    vt.check(times[first + 1] - times[first] < 5, "both within their seconds")
    still = first + 3
    vt.check(set(sizes[still:]) == {TEXT}, "then text")
    gaps = [b - a for a, b in zip(times[still:], times[still + 1:])]
    vt.check(gaps and gaps[0] > 20, f"none of a screen on which only the cursor blinks: {gaps}")
    vt.check(2 <= len(gaps) <= 4 and all(g > 9.5 for g in gaps), "one each ten seconds of one that changes each second")


def lifecycle():
    life = sql("SELECT op, text, value FROM events WHERE class='lifecycle' ORDER BY seq")
    words = [r["text"] for r in life if r["op"] == "firmware"]
    vt.check(any(re.search(r"SeaBIOS \(version", t) for t in words) and any("Booting from" in t for t in words),
             f"the firmware's stages: {len(words)} lines")
    crash = "".join(r["text"] for r in life if r["op"] == "crash")
    vt.check(re.search(r"RBX 0+badcafe\b.*RIP .*IDTR ", crash, re.S), "a crash with its registers")
    vt.check([r["text"] for r in life if r["op"] == "end"] == ["the guest crashed"], "and that it has ended so")
    asked = [r["text"] for r in sql("SELECT text FROM operator")]
    vt.check(any(re.match(rf"snapshot by uid {os.getuid()} pid \d+: .*\"op\":\"save\".*raw image", t) for t in asked),
             f"what was asked, by whom, and what came of it: {asked}")


def main():
    if not shutil.which("nasm") or not all(os.path.exists(b) for b in BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        guest(w)
        lifecycle()
        pictures()


main()
