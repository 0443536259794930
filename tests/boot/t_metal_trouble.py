#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Guests of different kinds side by side on the bare-metal hypervisor, under QEMU's SVM, on two processors: two Debian kernels,
each with its console and disk and a network between them, and one of 16 bits. Beside them one after the other crashes again
and again, loops with interrupts off, triple-faults, and writes ports, MSRs and foreign memory at random: meanwhile their clocks
and what they get done are measured."""
import vigia_test as vt
from baremetal import QEMU, Machine, need
from neighbours import fleet, measure, second, serve, state, to_shells

KINDS = ("loop", "crash", "triple", "noise")
SECONDS = 6    # of each measurement
BLOCKS = 2    # what a round reads and fetches: small, so that there are many
# Of what it does alone, beside one of weight 10 % that never waits. On two processors it is QEMU that takes from it, as one of its threads
# runs both in turns, a busy one for as long as it likes: this says only that it goes on. What the scheduler gives, t_metal_fair.py says.
SHARE = 0.2

need(QEMU, "nasm")


def measure_beside(vm, md5, quiet):
    """The best of three, if need be: what else this machine does is in these figures, too."""
    got = measure(vm, md5, SECONDS, BLOCKS)
    for _ in range(2):
        if got[0] < SHARE * quiet[0] or abs(got[1] - 1) > 0.1:
            got = max(got, measure(vm, md5, SECONDS, BLOCKS))
    return got


with vt.Workdir() as work:
    with Machine(fleet(work, "fleet.cpio", [(kind, kind.upper(), 10) for kind in KINDS]), memory=768, smp=2) as vm:
        to_shells(vm, ("loop", "noise"), KINDS)
        md5 = serve(vm, BLOCKS)
        print("ok: two Debian kernels with disks and a network, and a 16-bit guest, run side by side")
        quiet = [measure(vm, md5, SECONDS, BLOCKS)]
        first, began = second(vm)
        loud = {}
        for kind in KINDS:
            vm.send(f"start {kind}\n")
            second(vm)  # whatever it says, the 16-bit guest goes on
            if kind in ("crash", "triple"):
                for _ in range(5):
                    if state(vm, kind) == "crashed":
                        vm.send(f"start {kind}\n")
            loud[kind] = measure_beside(vm, md5, quiet[0])
            now = state(vm, kind)
            print(f"{kind}: {loud[kind][0]} rounds, its clock {loud[kind][1]:.3f} of ours; now it is {now}")
            vt.check(now == ("running" if kind == "loop" else "crashed") or kind == "noise", f"{kind} does what it is to do")
            vm.send(f"kill {kind}\n")
        quiet.append(measure(vm, md5, SECONDS, BLOCKS))
        print(f"nobody: {[q[0] for q in quiet]} rounds, its clock {[round(q[1], 3) for q in quiet]}")
        last, ended = second(vm)
        clock16 = (last - first) / (ended - began)
        # The board keeps a second's worth of its ticks: where this machine has little time for QEMU, it loses some
        vt.check(last > first and clock16 < 1.05, f"the 16-bit guest, which counts ticks, goes on: {clock16:.3f} seconds in one of ours")
        for kind, (rounds, clock) in loud.items():
            vt.check(rounds >= SHARE * min(q[0] for q in quiet), f"beside {kind} a guest does at least {SHARE:.0%} of what it does alone: {rounds}")
            vt.check(abs(clock - 1) < 0.1, f"beside {kind} its clock goes right: {clock:.3f}")
        for name in ("alpha", "bravo", "sixteen"):
            vt.check(state(vm, name) == "running", f"{name} runs still")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output and b"sixteen BROKEN" not in vm.output, "no trouble in the hypervisor")
        vm.poweroff()
