#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A triple fault ends with status 2, registers and the last exits; the debug exit port gives the
guest's own status; reboot boots again."""
import vigia_test as vt

with vt.VM("--net", "none", *vt.busybox("reboot=t vigia.end=reboot")) as vm:
    vm.expect(r"VIGIA end", 120)
    vm.wait(60, status=2)
    err = vm.stderr()
    vt.check("triple fault" in err and "RIP" in err and "CR3" in err and "last exits" in err,
             "a triple fault: registers and last exits are shown")

with vt.VM("--net", "none", "--exit-port", "0xf4", *vt.busybox("vigia.run=exit vigia.status=5")) as vm:
    vm.expect(r"VIGIA init", 120)
    vm.wait(60, status=11)
    print("ok: exit port gives (5 << 1) | 1")

with vt.VM("--net", "none", *vt.busybox("reboot=k vigia.end=reboot")) as vm:
    vm.expect(r"VIGIA init", 120)
    vm.expect(r"VIGIA end", 60)
    vm.expect(r"VIGIA init", 120)
    print("ok: reboot through the keyboard controller boots again")

with vt.VM("--net", "none", *vt.busybox("vigia.end=reboot")) as vm:
    vm.expect(r"VIGIA init", 120)
    vm.expect(r"VIGIA init", 180)
    print("ok: reboot as the kernel likes boots again")

with vt.VM("--net", "none", "--cpus", "2", *vt.busybox("panic=1 reboot=k vigia.end=panic")) as vm:
    vm.expect(r"Kernel panic", 120)
    vm.expect(r"VIGIA init", 120)
    print("ok: a panic with panic=1 reboots, 2 CPUs")
