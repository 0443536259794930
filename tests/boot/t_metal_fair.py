#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal scheduler on one processor, with guests that loop with interrupts off beside two Debian kernels, each with its disk
and a network between them, and one of 16 bits: what the others get done, and how long they wait. The clock goes with the instructions (QEMU's -icount): what else this machine does is no part of it."""
import vigia_test as vt
from baremetal import QEMU, Machine, need
from neighbours import fleet, measure, second, serve, state, to_shells

LIGHT, EVEN = "light", "even"  # a tenth of the others' weight, and the same
SECONDS = 4    # of each measurement
BLOCKS = 2     # what a round reads and fetches: small, so that there are many
WAITS = 20000  # us, at most, at equal weight: fair.h
# Of what alpha does alone. By their weights alpha and bravo together have 20 of 21 parts beside the light one. Beside the even one
# each of the three has at least a third, and waits for a slice of 5 ms whenever it has waited for a disk or its neighbour.
SHARE = {LIGHT: 0.85, EVEN: 0.3}

need(QEMU, "nasm")


def waited(vm):
    vm.send("stats\n")
    return {name: int(vm.expect(rf"{name} +cpu [^\n]*waited (\d+) us at most", 60)[1]) for name in ("alpha", "bravo", "sixteen")}


with vt.Workdir() as work:
    troubles = ((LIGHT, "LOOP", 10), (EVEN, "LOOP", 100))
    with Machine(fleet(work, "fleet.cpio", troubles), "-icount", "shift=4,sleep=off", memory=768) as vm:
        to_shells(vm, (LIGHT, EVEN), (LIGHT, EVEN))
        md5 = serve(vm, BLOCKS)
        quiet = [measure(vm, md5, SECONDS, BLOCKS)[0]]
        beside = {}
        for kind in SHARE:
            vm.send(f"start {kind}\n")
            second(vm)  # the others go on
            beside[kind] = measure(vm, md5, SECONDS, BLOCKS)[0]
            vt.check(state(vm, kind) == "running", f"{kind} runs, and never waits")
            vm.send(f"kill {kind}\n")
        quiet.append(measure(vm, md5, SECONDS, BLOCKS)[0])
        longest = waited(vm)
        print(f"rounds: {quiet} alone, {beside} beside one that never waits; waited {longest} us at most")
        for kind, share in SHARE.items():
            vt.check(beside[kind] >= share * min(quiet), f"beside {kind} a guest does at least {share:.0%} of what it does alone")
        vt.check(max(longest.values()) <= WAITS, f"nobody waits for more than {WAITS} us")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output and b"sixteen BROKEN" not in vm.output, "no trouble in the hypervisor")
        vm.poweroff()
