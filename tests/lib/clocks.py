# SPDX-License-Identifier: ISC
"""clocks: what tests/guest/tsc32.asm tells about TSC, PM timer and HPET, and judging it."""
import os
import subprocess

import vigia_test as vt

PM_HZ, HPET_HZ = 3579545, 100000000
TICK = (r"tick ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})\r+\n")


class Moment:
    """The clocks at one moment."""

    def __init__(self, m):
        back, turns, high, low, self.pm, self.hpet = (int(x, 16) for x in m.groups())
        self.backwards, self.turns, self.tsc = back, turns, high << 32 | low


def build(work, cpus=4, *options):
    image = work.file("tsc32.elf")
    folder = os.path.join(vt.ROOT, "tests/guest")
    subprocess.run(["nasm", "-f", "bin", f"-DCPUS={cpus}", *options, "-i", folder + "/", "-o", image, os.path.join(folder, "tsc32.asm")],
                   check=True)
    return ["--kernel", image, "--serial", "stdio", "--net", "none", "--memory", "64M", "--cpus", str(cpus), "--name", "tsc"]


def moment(vm):
    return Moment(vm.expect(TICK, 60))


def all_turn(vm):
    """Waits until each processor has had the lock between two ticks; gives that moment."""
    while True:
        m = moment(vm)
        if m.turns:
            return m


def seconds(a, b):
    """What PM timer and HPET say has passed. Less than 40 s: the HPET's lower half is what is read."""
    return ((b.pm - a.pm) & 0xffffffff) / PM_HZ, ((b.hpet - a.hpet) & 0xffffffff) / HPET_HZ


def ppm(x, y):
    return abs(x / y - 1) * 1e6
