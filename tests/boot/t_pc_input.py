#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vigia type, key and mouse at a PC with SeaBIOS: a boot sector says what its keyboard and mouse say, and
the screen shows it; the history notes who typed how much; what cannot be typed is refused."""
import os
import re
import shutil
import subprocess

import screen
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = ["/usr/share/seabios/bios-256k.bin", screen.VGA_BIOS]


def image(w):
    sector = w.file("keys.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", sector, os.path.join(HERE, "keys.asm")], check=True)
    with open(sector, "rb") as f:
        return w.file("keys.img", f.read(), 1 << 20)


def done(*args):
    status, _, err = vt.vigia(*args)
    vt.check(status == 0, f"vigia {' '.join(args)} {err}")


def refused(wanted, *args):
    status, _, err = vt.vigia(*args)
    vt.check(status == 1 and wanted in err, f"vigia {' '.join(args)}: {err.strip()}")


def movement(vm, start):
    """The sum of what the mouse has said since, and the buttons in order."""
    x = y = 0
    buttons = []
    for m in re.finditer(rb"M(..)(..)(..)\n", vm.output[start:]):
        st, dx, dy = (int(g, 16) for g in m.groups())
        x += dx - 256 * (st >> 4 & 1)
        y += dy - 256 * (st >> 5 & 1)
        buttons.append(st & 7)
    return x, y, buttons


def keyboard(vm, name):
    done("type", name, "Hello, World! {~}")
    for code in b"Hello, World! {~}":
        vm.expect(rf"K..{code:02X}\n", 20)
    done("key", name, "enter", "shift-f1")
    vm.expect("K1C0D\nK5400\n", 20)
    done("key", name, "ctrl-up", "alt-x")
    vm.expect("K8D..\nK2D00\n", 20)
    long = "".join(chr(97 + i % 26) for i in range(70))
    done("type", "--enter", name, long)
    vm.expect("K1C0D\n", 20)
    lines = screen.expect(name, long, 10)
    vt.check(lines[0] == "Hello, World! {~}", "the screen shows what was typed")


def mouse(vm, name):
    start = len(vm.output)
    done("mouse", "--relative", name, "--", "-300", "77", "click")
    vm.expect("M09....\nM08....\n", 20)
    x, y, buttons = movement(vm, start)
    vt.check((x, y) == (-300, -77), f"the mouse moved by {x}, {y}")
    vt.check(buttons[-2:] == [1, 0], f"and clicked: {buttons}")
    start = len(vm.output)
    done("mouse", name, "100", "50", "right")
    vm.expect("M0A....\nM08....\n", 20)
    x, y, _ = movement(vm, start)
    vt.check((x + 20000, y - 20000) == (100, -50), "from the upper left corner to 100, 50")


def history(name):
    status, out, err = vt.vigia("history", name, "--class", "operator")
    vt.check(status == 0 and "type by uid" in out and "17 characters" in out and "Hello" not in out,
             f"the history says that, not what, was typed {err}")


def main():
    if not shutil.which("nasm") or not all(os.path.exists(b) for b in BIOS):
        vt.skip("needs the packages nasm and seabios")
    name = f"input-{os.getpid()}"
    with vt.Workdir() as w:
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display", "vga", "--name", name,
                   "--exit-port", "0xf4", "--disk", f"{image(w)},if=ide,format=raw") as vm:
            vm.expect("MOUSE\nREADY\n", 60)
            keyboard(vm, name)
            mouse(vm, name)
            refused("US keyboard", "type", name, "caf\u00e9")
            refused("wrong is no key", "key", name, "ctrl-wrong")
            refused("there is click", "mouse", name, "1", "1", "bang")
            refused("numbers", "mouse", name, "1", "b")
            done("key", name, "f10")
            vm.wait(20, status=0x21)
        history(name)
        refused("no VM", "type", name, "x")


if __name__ == "__main__":
    main()
