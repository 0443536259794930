#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The TSC of four processors that read it in turns: never less than another has read, while the VM is paused
and goes on, and when it is saved and restored. HPET and PM timer keep step with it all the time."""
import os
import shutil
import tempfile
import time

import clocks
import vigia_test as vt

LIMIT = 300  # ppm over a few seconds; tests/long/t_time.py: 100 over a minute

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")


def control(*args):
    status, _, err = vt.vigia(*args)
    vt.check(status == 0, f"{args[0]} {err.strip()}")


def step(a, b, what):
    pm, hpet = clocks.seconds(a, b)
    print(f"{what}: {pm:.3f} s, HPET off by {clocks.ppm(hpet, pm):.1f} ppm, {(b.tsc - a.tsc) / pm / 1e6:.3f} MHz")
    vt.check(clocks.ppm(hpet, pm) < LIMIT, f"{what}: HPET and PM timer agree")
    return (b.tsc - a.tsc) / pm


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


main()
