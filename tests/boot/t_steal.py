#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Steal time under KVM, as far as this host's /dev/kvm goes: a guest that shares a processor of the host with a program that computes
sees that time is taken from it; on soft, where it does not grow, and back it finds what it has asked for."""
import os
import subprocess
import sys

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
SAYS = r"(not offered |offered |)(kept |)stolen ([0-9A-F]{16}) version ([0-9A-F]{8}) preempted ([0-9A-F]{8})\n"


def says(vm, before=0, more=True):
    m = vm.expect(SAYS, 60)
    word = m.group(1).decode()
    stolen, version, preempted = (int(m.group(i), 16) for i in (3, 4, 5))
    vt.check(m.group(2), "the MSR reads as it was written")
    vt.check(not preempted and not version & 1, f"it runs and nobody writes: {preempted}, version {version}")
    vt.check(stolen > before if more else stolen == before, f"{stolen / 1e6:.1f} ms stolen, before {before / 1e6:.1f}")
    return word, stolen


def hog():
    """Computes on the processor that the VM is pinned to."""
    return subprocess.Popen([sys.executable, "-c", "import os\nos.sched_setaffinity(0, {0})\nwhile True: pass"])


def main():
    with vt.Workdir() as w:
        elf, state, name = w.file("steal.elf"), w.file("state"), f"steal{os.getpid()}"
        subprocess.run(["nasm", "-f", "bin", "-i", f"{vt.ROOT}/tests/guest/", "-i", f"{HERE}/", "-o", elf, f"{HERE}/steal.asm"], check=True)
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            vt.skip("no /dev/kvm here")
        busy = hog()
        try:
            with vt.VM("--engine", "soft", "--name", name, "--net", "none", "--memory", "16M", "--kernel", elf) as vm:
                vt.check(says(vm, 0, False)[0] == "not offered ", "soft writes none, and does not say so")
                vm.process.kill()
            vm = vt.VM("--engine", "kvm", "--pin", "0", "--name", name, "--net", "none", "--memory", "16M", "--kernel", elf)
            with vm:
                word, stolen = says(vm)
                vt.check(word == "offered ", "KVM does")
                for engine, more in (("soft", False), ("kvm", True), ("kvm", True)):
                    status, _, err = vt.vigia("save", name, state)
                    vt.check(status == 0, f"saved {err.strip()}")
                    vm.wait(30)
                    vm = vt.restored(state, "--engine", engine)
                    vm.send("x")
                    # in a state the count may be newer than what was said
                    stolen = says(vm, stolen, more)[1] if more else max(stolen, says(vm, 0)[1])
                vm.process.kill()
        finally:
            busy.kill()


if __name__ == "__main__":
    main()
