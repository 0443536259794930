#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The TSC of four processors that read it in turns: never less than another has read, while the VM is paused
and goes on, and when it is saved and restored. HPET and PM timer keep step with it all the time. A state from a host whose TSC has another
frequency has its guest's go on at that one; KVM without TSC scaling says that it cannot (tests/unit/test_kvm_tsc.c, tests/long/t_kvm_tsc.py
have it with)."""
import os
import shutil
import tempfile
import time

import clocks
import statefile
import vigia_test as vt

LIMIT = 300  # ppm over a few seconds; tests/long/t_time.py: 100 over a minute
FACTOR = 1.4

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")


def control(*args):
    status, _, err = vt.vigia(*args)
    vt.check(status == 0, f"{args[0]} {err.strip()}")


def step(a, b, what):
    pm, hpet = clocks.seconds(a, b)
    print(f"{what}: {pm:.3f} s, HPET off by {clocks.ppm(hpet, pm):.1f} ppm, {(b.tsc - a.tsc) / pm / 1e6:.3f} MHz")
    vt.check(clocks.ppm(hpet, pm) < LIMIT, f"{what}: HPET and PM timer agree")
    return (b.tsc - a.tsc) / pm


def other_rates(state, before, rate):
    hz = statefile.other_rate(state, FACTOR)
    with vt.VM(command=[vt.VIGIA, "restore", state]) as vm:
        first = clocks.all_turn(vm)
        vt.check(f"its TSC goes at {hz // 10**6} MHz, the host's at" in vm.stderr(), vm.stderr().strip())
        time.sleep(2)
        vm.drain()
        last = clocks.moment(vm)
        vt.check(clocks.ppm(step(first, last, "another rate"), rate * FACTOR) < LIMIT, f"the guest's TSC goes {FACTOR} times as fast as the host's")
        vt.check(first.tsc > before.tsc and last.backwards == 0, "never backwards")
        kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
        if kvm:
            status, _, err = vt.vigia("move", "tsc", "--engine", "kvm")
            vt.check(status and "the engine kvm cannot scale it here: it goes on as before" in err, f"KVM without TSC scaling does not take it {err.strip()}")
            clocks.all_turn(vm)
            last = clocks.all_turn(vm)
            vt.check(clocks.ppm(step(first, last, "which stays"), rate * FACTOR) < LIMIT and last.backwards == 0, "it goes on")
        control("save", "tsc", state)
        vm.process.wait(20)
    if not kvm:
        print("no /dev/kvm here")
        return
    with vt.VM(command=[vt.VIGIA, "restore", state, "--engine", "kvm"]) as vm:
        first = clocks.moment(vm)
        vt.check(f"the guest's ran at {hz // 10**6}: the guest's clock will be off" in vm.stderr(), vm.stderr().strip())
        vt.check(first.tsc > last.tsc, "restored under KVM it goes on from where it was")


def main():
    if not shutil.which("nasm"):
        vt.skip("needs the package nasm")
    with vt.Workdir() as work:
        state = work.file("tsc.state")
        with vt.VM(*clocks.build(work)) as vm:
            first = clocks.all_turn(vm)
            time.sleep(2)
            vm.drain()
            middle = clocks.moment(vm)
            rate = step(first, middle, "running")
            for _ in range(5):
                control("pause", "tsc")
                time.sleep(0.2)
                control("resume", "tsc")
                last = clocks.all_turn(vm)
            vt.check(clocks.ppm(step(middle, last, "with pauses"), rate) < LIMIT, "the TSC's rate through pauses")
            vt.check(last.backwards == 0, "never backwards")
            control("save", "tsc", state)
            vm.process.wait(20)
        with vt.VM(command=[vt.VIGIA, "restore", state]) as vm:
            after = clocks.all_turn(vm)
            time.sleep(2)
            vm.drain()
            end = clocks.moment(vm)
            vt.check(clocks.ppm(step(after, end, "restored"), rate) < LIMIT, "the TSC's rate after a restore")
            vt.check(clocks.ppm(step(last, end, "over the restore"), rate) < LIMIT, "TSC, PM timer and HPET went on together")
            vt.check(end.tsc > last.tsc and end.backwards == 0, "never backwards after a restore")
            control("save", "tsc", state)
            vm.process.wait(20)
        other_rates(state, end, rate)


main()
