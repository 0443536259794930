#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor on several processors under load: two Debian kernels with two vCPUs each, which
compute, fork and copy, and a guest that crashes, on 2 and on 4 host CPUs of QEMU's TCG.

  tests/long/t_metal_smp.py [ROUNDS [THREADS]]    THREADS: single (the default) or multi, as -accel tcg,thread="""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import vigia_test as vt  # noqa: E402
from baremetal import Machine, assemble, linux, pack, small  # noqa: E402

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
threads = sys.argv[2] if len(sys.argv) > 2 else "single"

with vt.Workdir() as work:
    fleet = "".join(linux(name, "vigia.run=cpus,smp,fork,disk", "cpus: 2", f'disk: ["{work.file(name, size=8 << 20)}"]') for name in ("alpha", "bravo"))
    module = pack(work.file("fleet.cpio"), fleet + small("small", assemble(work.file("metal"), "boot/metal.asm")))
    for n in range(rounds):
        for smp in (2, 4):
            with Machine(module, memory=512, smp=smp, threads=threads) as vm:
                for _ in range(2):
                    vm.expect(r"\| VIGIA disk ok", 900)
                said = vm.output.decode(errors="replace")
                for name in ("alpha", "bravo"):
                    vt.check(f"{name}| VIGIA smp results=2 distinct=1" in said and
                             f"{name}| VIGIA fork sum=200010000" in said and f"{name}| VIGIA disk ok" in said,
                             f"round {n + 1}, {smp} CPUs: {name} has computed, forked and copied")
                vt.check("BUG:" not in said and "alpha: triple" not in said and "bravo: triple" not in said,
                         f"round {n + 1}, {smp} CPUs: no trouble in the kernels")
                vm.send("poweroff\n")
                vm.wait(120)
