#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""guest.py: assembles a bare-metal suite and runs it under each way of executing; all must agree.

  guest.py VIGIA SUITE.asm [--status N] [--cpus N] [--cpu MODEL] [--pc] [--with OPTIONS] [--ways WAY,…] [--qemu]

A suite writes its failed rows and a last line `N rows, N failed, N skipped` to the serial port, and
its verdict to port F4H. --status: the exit status to expect instead (2: the guest crashes on purpose).
--pc: on the board with a BIOS, which boots it from a disk. --with: other options than --net none. --qemu: runs it under QEMU's TCG as well, for comparison only."""
import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile

WAYS = {"soft": {}, "interp": {"VIGIA_SOFT_INTERP": "1"}, "tiny cache": {"VIGIA_SOFT_CACHE": "131072"}}
KVM = {"kvm": "auto", "kvm full": "full", "kvm off": "off"}  # --kvm-irqchip; asked for by name only: where /dev/kvm emulates it takes long

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("vigia")
p.add_argument("suite")
p.add_argument("--status", type=int, default=1)
p.add_argument("--cpus", default="1")
p.add_argument("--cpu", help="the model")
p.add_argument("--pc", action="store_true")
p.add_argument("--with", dest="more", default="--net none", help="options of `vigia run`; {dir}: where guest.elf is")
p.add_argument("--ways", default=",".join(WAYS), help="kvm, kvm full, kvm off, too")
p.add_argument("--qemu", action="store_true")
args = p.parse_args()
here = os.path.dirname(os.path.abspath(args.suite))
bad = 0


def known(way):
    """Rows that a way of executing is known to fail (known-WAY.txt); each is named in doc/conformance.md."""
    path = os.path.join(here, f"known-{way.split()[0]}.txt")
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as f:
        return [line.strip() for line in f if line.strip() and not line.startswith("#")]


def judge(way, status, text):
    fails = [line for line in text.splitlines() if line.startswith("FAIL ")]
    if way.split()[0] == "tiny":
        way = "soft"
    excused = [f for f in fails if any(f.startswith(f"FAIL {k}: want") for k in known(way))]
    last = re.search(r"(\d+) rows, (\d+) failed, (\d+) skipped", text)
    if args.status != 1:
        return status == args.status
    if not last or int(last.group(1)) == 0 or status not in (1, 3):
        return False
    return int(last.group(2)) == len(excused)


def bootable(image, d):
    """A disk whose boot sector loads the image."""
    with open(image, "rb") as f:
        body = f.read()
    sectors = (len(body) + 511) // 512
    sector, disk = os.path.join(d, "boot.bin"), os.path.join(d, "disk.img")
    subprocess.run(["nasm", "-f", "bin", f"-DSECTORS={sectors}", "-o", sector, os.path.join(here, "boot.asm")],
                   check=True)
    with open(sector, "rb") as f, open(disk, "wb") as out:
        out.write((f.read() + body).ljust(1 << 20, b"\0"))
    return disk


with tempfile.TemporaryDirectory() as d:
    image = os.path.join(d, "guest.elf")
    subprocess.run(["nasm", "-f", "bin", "-i", here + "/", "-o", image, args.suite], check=True)
    start = ["--kernel", image, "--append", "vigia test"]
    if args.cpu:
        start += ["--cpu", args.cpu]
    if args.pc:
        start = ["--board", "pc", "--disk", f"{bootable(image, d)},if=ide,format=raw"]
    start += shlex.split(args.more.format(dir=d))
    for way in args.ways.split(","):
        env = WAYS.get(way, {})
        r = subprocess.run([args.vigia, "run", *start, "--engine", "kvm" if way in KVM else "soft", "--kvm-irqchip", KVM.get(way, "auto"), "--exit-port", "0xf4", "--serial", "stdio",
                            "--memory", "64M", "--cpus", args.cpus], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=300, check=False)
        text = r.stdout.decode(errors="replace")
        good = judge(way, r.returncode, text)
        lines = text.strip().splitlines()
        print(f"{'ok' if good else 'FAILED'}: {os.path.basename(args.suite)} under {way}: status {r.returncode}"
              + (f", {lines[-1]}" if lines else ""))
        if not good:
            bad = 1
            print(text + r.stderr.decode(errors="replace")[:3000])
    if args.qemu:
        r = subprocess.run(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-kernel", image, "-display", "none",
                            "-serial", "stdio", "-m", "64", "-smp", args.cpus, "-no-reboot", "-device",
                            "isa-debug-exit,iobase=0xf4"], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=300, check=False)
        print(r.stdout.decode(errors="replace")[-3000:])
sys.exit(bad)
