#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Boot of the unmodified Debian kernel to a busybox shell on 1 and on 4 CPUs: CPUs counted, clocks
agree, all CPUs compute the same, processes and pipes work, power-off ends with status 0."""
import sys
import time

import vigia_test as vt

ONE = "cpus,clock,smp,fork"


def boot(cpus, *more, env=None, timeout=180, slack=3.5):
    with vt.VM("--cpus", str(cpus), "--net", "none", *more,
               *vt.busybox(f"vigia.run={ONE} vigia.end=poweroff"), env=env) as vm:
        vm.expect(r"VIGIA init uptime=", timeout)
        vm.expect(rf"VIGIA cpus={cpus}\r?\n", timeout)
        before = time.monotonic()
        m = vm.expect(r"VIGIA clock source=(\S+) seconds=(\d+) uptime=([0-9.]+)\.\.([0-9.]+)", timeout)
        outside = time.monotonic() - before
        seconds = float(m.group(4)) - float(m.group(3))
        vt.check(1.9 <= seconds <= slack * vt.PATIENCE, f"sleep 2 took {seconds:.2f} s by the guest's clock "
                                                      f"{m.group(1).decode()}, {outside:.2f} s outside")
        vm.expect(rf"VIGIA smp results={cpus} distinct=1\r?\n", timeout)
        vm.expect(r"VIGIA fork sum=200010000\r?\n", timeout)
        vm.wait(60)
        text = vm.output.decode(errors="replace")
        for bad in ("Kernel panic", "BUG:", "Oops", "soft lockup", "rcu: INFO", "general protection", "segfault", "unchecked MSR", "WARNING:"):
            vt.check(bad not in text, f"no {bad!r} in the kernel log")


if __name__ == "__main__":
    boot(1)
    boot(4)
