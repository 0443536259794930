#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Memory that is written to the state's file while the guest runs (ctl/state_ram.c), and what it changes meanwhile (engine/kvm/dirty.c), by bitmaps
(by rings too in t_kvm.py: this host's KVM loses some): with VIGIA_STATE_COMPARE the file is compared with memory, page by page, once the guest stands still. Guests that write to
memory all the time, themselves and by a disk, find everything again, on each engine."""
import os
import re
import subprocess
import time

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("VIGIA_AHEAD_ROUNDS", "6"))
COMPARE = {"VIGIA_STATE_COMPARE": "1"}


def saved(vm, name, state, *more):
    status, out, err = vt.vigia("save", *more, name, state, timeout=120)
    vm.errors.seek(0)
    return status, (out + err).strip() + (vm.errors.read().decode()[-500:] if status else "")


def going(w, guest, *more):
    name = f"ahead-{guest}-{os.getpid()}"
    return name, vt.VM("--engine", "kvm", "--sandbox", "off", "--history", "none", "--net", "none", "--memory", "64M", "--exit-port", "0xf4",
                       "--name", name, "--disk", w.file("disk.img") + ",format=raw", "--kernel", w.file(f"{guest}.elf"), "--append", "+", *more,
                       env={**os.environ, **COMPARE})


def rounds(w, guest, *more):
    state, engine = w.file("state"), "kvm"
    name, vm = going(w, guest, *more)
    for i in range(ROUNDS):
        with vm:
            vm.expect(r"\.", 60)
            for k in range(2):
                status, text = saved(vm, name, state, "--keep")
                vt.check(status == 0, f"{guest} {' '.join(more)}: what it wrote meanwhile is in the file, too {i}.{k}: {text}")
                time.sleep(i % 3 / 20)
            if i % 3 == 2:  # through the other engine, which tells nothing of what is written
                for there in ("soft", "kvm"):
                    vt.check(there == engine or vt.vigia("move", name, "--engine", there)[0] == 0, f"moved to {there}")
                    vm.expect(r"\.", 60)
                status, text = saved(vm, name, state, "--keep")
                vt.check(status == 0, f"after it was moved {text}")
            status, text = saved(vm, name, state)
            vt.check(status == 0, f"saved {text}")
            vm.wait(30)
            vt.check(not re.search(rb"WRONG|LOST|FAILED", vm.output), "it finds what it wrote")
        engine = "soft" if i % 2 else "kvm"
        vm = vt.restored(state, "--engine", engine, env={**os.environ, **COMPARE})
    with vm:
        vm.expect(r"\.\.", 60)
        vt.check(not re.search(rb"WRONG|LOST|FAILED", vm.output), "it finds what it wrote")
        vm.process.kill()


def stands_still(w):
    """For the last part only: it goes on while most is written."""
    name, vm = going(w, "scribble", "--memory", "512M", "--sandbox", "on")
    with vm:
        vm.expect(r"\.", 60)
        status, text = saved(vm, name, w.file("state"), "--keep")
        vt.check(status == 0 and re.search(r"stood still for \d+ ms", text), f"how long it stood still: {text}")
        vm.process.kill()


def main():
    with vt.Workdir() as w:
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            vt.skip("no /dev/kvm here; in the rig: t_kvm.py")
        for guest in ("scribble", "bells"):
            subprocess.run(["nasm", "-f", "bin", "-i", f"{HERE}/", "-o", w.file(f"{guest}.elf"), f"{HERE}/{guest}.asm"], check=True)
        w.file("disk.img", size=1 << 20)
        for guest in ("scribble", "bells"):
            rounds(w, guest)
        rounds(w, "scribble", "--cpus", "2", "--kvm-irqchip", "off")
        stands_still(w)


if __name__ == "__main__":
    main()
