#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What a machine says about itself reaches the guest's kernel: from memory on the micro board, through
SeaBIOS on the PC. The UUID comes from --uuid or from the VM's name, and is the same at each start; a
restored PC keeps its own, though its definition says another by then."""
import re

import linuxdisk
import vigia_test as vt

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def look(*args):
    """The guest's UUID, serial number and product; empty where there is none."""
    with vt.VM("--net", "none", *args, env=env) as vm:
        return ask(vm, "poweroff -f\n")


def ask(vm, end):
    vm.expect(r"VIGIA shell", 120)
    _, out = vm.shell("cd /sys/class/dmi/id; echo id=$(cat product_uuid)/$(cat product_serial)/$(cat product_name)=")
    if end:
        vm.send(end)
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

    # Saved and restored, with another definition, and started again.
    definition, state = d.file("pc.yaml"), d.file("state")
    say = f"uuid: {UUID}\nserial-number: S 42\nboard: pc\nname: pc\ndisk: ['{pc[1]},ro']\nnet: [none]\n"
    for i, given in enumerate((say, say.replace(UUID, UUID.replace("6", "7")).replace("S 42", "Another one"))):
        with open(definition, "w", encoding="ascii") as f:
            f.write(given)
        with vt.VM(definition, env=env) if i == 0 else vt.restored(state, env=env) as vm:
            if i:
                vm.send("reboot -f\n")
            seen = ask(vm, None)
            vt.check(seen[:2] == (UUID, "S 42"), f"{'restored' if i else 'to be saved'}: {seen}")
            if i == 0:
                status, _, err = vt.vigia("save", "pc", state, env=env)
                vt.check(status == 0, f"saved {err.strip()}")
