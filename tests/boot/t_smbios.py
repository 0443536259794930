#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What a machine says about itself reaches the guest's kernel: from memory on the micro board, through
SeaBIOS on the PC. The UUID comes from --uuid or from the VM's name, and is the same at each start."""
import re

import linuxdisk
import vigia_test as vt

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def look(*args):
    """The guest's UUID, serial number and product; empty where there is none."""
    with vt.VM("--net", "none", *args, env=env) as vm:
        vm.expect(r"VIGIA shell", 120)
        _, out = vm.shell("cd /sys/class/dmi/id; echo id=$(cat product_uuid)/$(cat product_serial)/$(cat product_name)=")
        vm.send("poweroff -f\n")
        vm.wait(60)
    m = re.search(r"id=([-0-9a-f]*)/(.*)/(.*)=", out)
    if not m:
        vt.fail(f"no SMBIOS data: {out!r}")
    return m.groups()


with vt.Workdir() as d:
    env = {"XDG_RUNTIME_DIR": d.path}
    quiet = "quiet vigia.end=shell"
    micro = vt.busybox(quiet)
    pc = ["--disk", linuxdisk.make(d, vt.kernel(), vt.initramfs(), f"console=ttyS0 {quiet}") + ",format=raw,if=ide"]
    given = ["--uuid", UUID.upper(), "--serial-number", "S 42"]
    for name, board in (("micro", micro), ("pc", pc)):
        seen = look(*given, *board)
        vt.check(seen == (UUID, "S 42", "Vigia virtual machine"), f"{name}: what the options say: {seen}")
    ann = look("--name", "ann", *micro)[0]
    vt.check(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", ann),
             f"a UUID from the name: {ann}")
    vt.check(look("--name", "ann", *pc)[0] == ann, "the same VM has the same, on any board")
    vt.check(look("--name", "bob", *micro)[0] not in (ann, ""), "another VM has another")
