#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""kvm.py: the engine kvm beside QEMU's, on a KVM that executes: in the rig (tests/rig) both boot the same Debian kernel
to /init, in turns. How long that took from the start of the program, and how often the guest left for its hypervisor. Vigia
unpacks the kernel at the first start; later ones find it.

  tests/bench/kvm.py [--rounds N] [--memory MIB] [--icount] [--all]

Times are the rig's own clock's, the least of all rounds, exits too. --icount: that clock goes with the instructions,
so that a time is what was executed, whatever else the machine does. --all: each of KVM's counters. Status 1 where
a goal is missed: at most QEMU's exits, at most 0.6 of its time."""
import argparse
import os
import re
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/rig"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import vigia_test as vt  # noqa: E402
import rig  # noqa: E402

TIME_GOAL = 0.6
QEMU_DATA = "/usr/share/seabios/bios-256k.bin /usr/share/qemu/linuxboot_dma.bin /usr/share/qemu/kvmvapic.bin"
APPEND = "console=ttyS0 quiet vigia.end=halt"
GUEST = "-kernel /g/vmlinuz -initrd /g/initramfs.cpio"
VIGIA = "vigia run --engine kvm --history none --net none --memory {}M --kernel /g/vmlinuz --initrd /g/initramfs.cpio"
WAYS = {  # by name; one that ends in "first" finds no kernel that was unpacked before
    "vigia-first": VIGIA + " --append",
    "vigia": VIGIA + " --append",
    "vigia-full": VIGIA + " --kvm-irqchip full --append",
    "vigia-off": VIGIA + " --kvm-irqchip off --append",
    "qemu": f"qemu-system-x86_64 -L /q -accel kvm -cpu host -m {{}} -nodefaults -vga none -display none -no-reboot -serial stdio {GUEST} -append",
}

SCRIPT = r"""
mount -t debugfs debug /sys/kernel/debug
mkfifo /tmp/console
dmesg -n 1
until_init() {
    name=$1; shift
    case $name in *first) rm -rf $HOME/.cache ;; esac
    read -r start _ </proc/uptime
    "$@" </dev/null >/tmp/console 2>/tmp/errors &
    up=none
    while read -r line; do
        case $line in *'VIGIA init'*) up=found; break ;; esac
    done </tmp/console
    read -r end _ </proc/uptime
    counts=; for f in /sys/kernel/debug/kvm/*; do [ -f $f ] && read -r n <$f && counts="$counts ${f##*/}=$n"; done
    kill -9 $!; wait $! 2>/dev/null
    echo "RIG $name $up $start $end$counts"
    [ $up = found ] || cat /tmp/errors
}
"""


def script(args):
    lines = [f"until_init {name} {command.format(args.memory)} '{APPEND}'" for name, command in WAYS.items()]
    return SCRIPT + "\n".join(lines * args.rounds)


def rows(text):
    """By way: the counters of each boot, with its time."""
    out = {name: [] for name in WAYS}
    for name, start, end, counts in re.findall(r"RIG ([\w-]+) found ([\d.]+) ([\d.]+)((?: \w+=\d+)*)", text):
        row = {key: int(n) for key, n in (c.split("=") for c in counts.split())}
        out[name].append({"time": float(end) - float(start), **row})
    return out


def least(boots):
    return {key: min(b[key] for b in boots) for key in boots[0]}


def show(figures, everything):
    keys = [k for k in figures["qemu"] if everything or k in ("time", "exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits")]
    print("| to /init |" + "".join(f" {name} |" for name in figures) + "\n|---|" + "---|" * len(figures))
    for key in keys:
        values = [f[key] for f in figures.values()]
        if any(values):
            print(f"| {key} |" + "".join(f" {v:.2f} s |" if key == "time" else f" {v} |" for v in values))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--memory", type=int, default=128)
    p.add_argument("--icount", action="store_true")
    p.add_argument("--all", action="store_true")
    args = p.parse_args()
    qemu = shutil.which("qemu-system-x86_64") or vt.skip("qemu-system-x86_64 is not there")
    r = rig.Rig([vt.kernel(), vt.initramfs()], script(args), programs=[qemu],
                options=rig.ICOUNT if args.icount else ())
    for path in QEMU_DATA.split():
        r.files["/q/" + os.path.basename(path)] = os.path.realpath(path)
    text = r.run(120 + 600 * args.rounds)
    got = rows(text)
    if not all(got.values()):
        print(text[-3000:])
        sys.exit("kvm.py: a guest did not come to /init")
    figures = {name: least(boots) for name, boots in got.items()}
    show(figures, args.all)
    met = True
    for name in ("vigia-first", "vigia"):
        time, exits = (figures[name][key] / figures["qemu"][key] for key in ("time", "exits"))
        good = time <= TIME_GOAL and exits <= 1
        met = met and good
        print(f"{name}: time {time:.2f} of QEMU's (at most {TIME_GOAL}), exits {exits:.2f} (at most 1): {'met' if good else 'NOT met'}")
    sys.exit(not met)


if __name__ == "__main__":
    main()
