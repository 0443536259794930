#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""HPET, PM timer and TSC over a minute, or the seconds given: within 100 ppm of each other, with four
processors that read the TSC in turns."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import clocks  # noqa: E402
import vigia_test as vt  # noqa: E402

LIMIT = 100
PART = 10  # s: a part over which the TSC's rate is taken
total = int(sys.argv[1]) if len(sys.argv) > 1 else 60

with vt.Workdir() as work, vt.VM(*clocks.build(work)) as vm:
    start = at = clocks.all_turn(vm)
    pm = hpet = 0.0
    rates = []
    while pm < total:
        while clocks.seconds(at, now := clocks.moment(vm))[0] < PART:
            pass
        p, h = clocks.seconds(at, now)
        rates.append((now.tsc - at.tsc) / p)
        pm, hpet, at = pm + p, hpet + h, now
    spread = clocks.ppm(max(rates), min(rates))
    print(f"{pm:.1f} s by the PM timer: HPET off by {clocks.ppm(hpet, pm):.2f} ppm; TSC {rates[0] / 1e6:.4f} MHz, "
          f"its rate over parts of {PART} s within {spread:.2f} ppm; backwards {at.backwards} times")
    vt.check(clocks.ppm(hpet, pm) < LIMIT, "HPET and PM timer")
    vt.check(spread < LIMIT, "TSC")
    vt.check(at.backwards == 0, "never backwards")
