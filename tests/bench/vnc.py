#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vnc: what a viewer costs. Prints lines for doc/benchmarks.md; needs a build in build/ (or VIGIA).

  tests/bench/vnc.py [SECONDS]

CPU time is that of the VM's viewer thread and of the whole process; the client runs beside it."""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../boot"))
import linuxdisk
import screen
import t_vnc
import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))


def cpu(pid, thread=None):
    """Seconds, of the process or of its threads of that name."""
    paths = [f"/proc/{pid}/stat"]
    if thread:
        tasks = f"/proc/{pid}/task"
        paths = [f"{tasks}/{t}/stat" for t in os.listdir(tasks)]
    ticks = 0
    for path in paths:
        with open(path, encoding="ascii") as f:
            name, rest = re.match(r"\d+ \((.*)\) (.*)", f.read()).groups()
        if not thread or name == thread:
            ticks += sum(int(n) for n in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(what, vm, path, seconds):
    pid = vm.process.pid
    client = subprocess.Popen([t_vnc.CLIENT, path, "0", "watch", "1500", "watch", str(int(seconds * 1000))],
                              stdout=subprocess.PIPE, text=True)
    client.stdout.readline()  # under way
    start, all0, viewer0 = time.monotonic(), cpu(pid), cpu(pid, "viewer")
    time.sleep(seconds - 1)
    passed, all1, viewer1 = time.monotonic() - start, cpu(pid), cpu(pid, "viewer")
    updates, dots, ms = (int(n) for n in re.findall(r"\d+", client.communicate()[0]))
    print(f"| {what} | {updates * 1000 / ms:.1f} updates/s | {dots * 1000 / ms / 1e6:.2f} M dots/s | "
          f"viewer {100 * (viewer1 - viewer0) / passed:.1f} % | process {100 * (all1 - all0) / passed:.1f} % |")


def repaint(w, path, seconds):
    sector = w.file("r.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", sector, os.path.join(HERE, "repaint.asm")], check=True)
    with open(sector, "rb") as f:
        image = w.file("r.img", f.read(), 1 << 20)
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display", f"vnc:unix:{path}", "--disk",
               f"{image},if=ide,format=raw") as vm:
        vm.expect("PAINTING", 60)
        measure("every dot of 1024 by 768 at 72 Hz", vm, path, seconds)


def idle(w, path, seconds, kind):
    name = f"idle-{os.getpid()}"
    ram_disk = vt.initramfs("--modules", "psmouse,mousedev,virtio_input,uhci-hcd,usbhid,hid-generic,evdev", "--name",
                            "input")
    disk = linuxdisk.make(w, vt.kernel(), ram_disk, "console=ttyS0 quiet vigia.run=tty")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--display", f"vnc:unix:{path}", "--name", name,
               "--input", kind, "--disk", f"{disk},if=ide,format=raw,snapshot") as vm:
        vm.expect("VIGIA tty ready", 120)
        screen.expect(name, "built-in shell", 30)
        time.sleep(3)
        measure(f"Linux idle at a text console, --input {kind}", vm, path, seconds)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    with vt.Workdir() as w:
        path = w.file("s.sock")
        for kind in ("ps2", "usb"):
            idle(w, path, seconds, kind)
        repaint(w, path, seconds)


main()
