#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""metal.py: what the bare-metal hypervisor costs in the rig (QEMU's TCG, which emulates AMD's SVM): the way from its
entry to a guest's first instruction, an exit and back, computing in a guest. The same guest (metaltime.asm) runs on
the bare machine, under vigia.elf, and under Linux's KVM there, started by vigia run.

  tests/bench/metal.py [--rounds N] [--no-kvm] [--icount]

Ticks of the machine's TSC, which in QEMU is the host's time: the least of all rounds. --icount: the clock goes with the
instructions, one a nanosecond, so that a figure is what was executed and always the same; KVM is left out there."""
import argparse
import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/lib", "tests/rig"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import baremetal  # noqa: E402
from baremetal import ELF, QEMU, missing  # noqa: E402

ICOUNT = ["-icount", "shift=0,sleep=off"]
MEMORY = {"small": 16, "large": 64}  # MiB of guests; large is the one that is timed


def assemble(folder):
    return baremetal.assemble(os.path.join(folder, "metaltime.bin"), "bench/metaltime.asm")


def machine(fleet, memory, *args, elf=ELF, cpu="EPYC"):
    return baremetal.Machine(fleet, "-mem-prealloc", *args, elf=elf, cpu=cpu, memory=memory)


def rows(text):
    """What the guest says, by name."""
    return {name: int(ticks) for name, ticks in re.findall(r"time (\w+) (\d+)\s", text) if name != "end"}


def bare(guest, options=()):
    with machine(None, 64, *options, elf=guest) as vm:
        vm.expect(r"time end 0\s", 300)
        return rows(vm.output.decode(errors="replace"))


def pack(folder, guest, name):
    return baremetal.pack(os.path.join(folder, name + ".cpio"), baremetal.small(name, guest, memory=f"{MEMORY[name]}M"))


def began(vm, name):
    """Microseconds from the hypervisor's entry to the guest's first instruction."""
    vm.send("stats\n")
    return int(vm.expect(rf"{name} +cpu [^\n]*began at (\d+) us", 60)[1])


def metal(folder, guest, options=(), cpu="EPYC"):
    """Rows of the guest under the hypervisor, and when guests of both sizes began."""
    with machine(pack(folder, guest, "large"), 192, *options, cpu=cpu) as vm:
        vm.expect(r"time end 0\s", 300)
        start = {"large": began(vm, "large")}
        got = rows(vm.output.decode(errors="replace"))
    with machine(pack(folder, guest, "small"), 192, *options, cpu=cpu) as vm:
        vm.expect(r"time cpuid \d+\s", 120)
        start["small"] = began(vm, "small")
    return got, start


def vmx(work, guest):
    """Rows under VMX in Bochs, whose clock goes with the instructions."""
    import bochs  # pylint: disable=import-outside-toplevel
    image = baremetal.pack(work.file("vmx.iso"), baremetal.small("large", guest, memory="64M"))
    with bochs.Bochs(work, image) as vm:
        vm.expect(r"time end 0\s", 300)
        return rows(vm.output.decode(errors="replace"))


def kvm(guest):
    import rig  # pylint: disable=import-outside-toplevel
    text = rig.Rig([guest], "timeout 60 vigia run --engine kvm --board micro --kernel /g/metaltime.bin --memory 64M "
                   "--serial stdio --net none </dev/null").run(300)
    return rows(text)


def least(into, new):
    for name, ticks in new.items():
        into[name] = min(ticks, into.get(name, ticks))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--no-kvm", action="store_true")
    p.add_argument("--icount", action="store_true")
    args = p.parse_args()
    why = missing(QEMU, "nasm")
    if why:
        sys.exit(f"metal.py: {why}")
    if args.icount:
        args.no_kvm, args.rounds = True, 1
    options = ICOUNT if args.icount else ()
    figures = {"bare": {}, "vigia": {}, "kvm": {}}
    start = {}
    with tempfile.TemporaryDirectory(prefix="vigia-metal-") as folder:
        guest = assemble(folder)
        for _ in range(args.rounds):
            least(figures["bare"], bare(guest, options))
            got, when = metal(folder, guest, options)
            least(figures["vigia"], got)
            least(start, when)
            if not args.no_kvm:
                least(figures["kvm"], kvm(guest))
    print(f"| {'row':8} | {'bare':>8} | {'vigia.elf':>9} | {'KVM':>8} | vigia/bare |\n|---|---|---|---|---|")
    for name, ticks in figures["bare"].items():
        v, k = figures["vigia"].get(name), figures["kvm"].get(name)
        print(f"| {name:8} | {ticks:8} | {v or '-':>9} | {k or '-':>8} | {v / ticks if v else 0:10.3f} |")
    for name, us in start.items():
        print(f"first instruction of a guest with {MEMORY[name]} MiB: {us / 1000:.1f} ms after the entry")


if __name__ == "__main__":
    main()
