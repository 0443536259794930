#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The engine kvm beside soft: what the history has of a guest and what rules make of CPUID; a PC that masks A20, and system management mode, whose suite (tests/guest/smm.asm)
says the same under both; on this host's /dev/kvm, as far as it goes, and where KVM really executes: in the rig (tests/rig)."""
import json
import os
import re
import shutil
import subprocess
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

BIOS = "/usr/share/seabios/bios-256k.bin"
VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin"
HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.path.join(vt.ROOT, "tests/guest")
GOLDEN = {("port", "write", 0x80): 5, ("port", "read", 0x84): 2, ("port", "write", 0xf4): 1, ("mmio", "read", 0xfee00020): 2,
          ("msr", "write", 0x174): 1, ("msr", "read", 0x174): 2}
GOOD = 33  # of a guest that has written 10H to its exit port

SCRIPT = r"""
vm() { name=$1; shift; timeout -s KILL 60 vigia run --engine kvm --sandbox off --history none --net none --memory 64M \
    --exit-port 0xf4 "$@" </dev/null >/tmp/out 2>&1; echo "RIG $name: status $? $(grep -o '[0-9]* rows.*' /tmp/out)"; }
dmesg -n 1
echo 40 >/proc/sys/vm/nr_hugepages # before memory is in pieces
vm a20 --board pc --disk /g/a20.img,if=ide,format=raw
vm smm --board pc --disk /g/smm.img,if=ide,format=raw
vm mb1 --kernel /g/mb1.elf --append 'vigia test'
printf 'redirect cpuid 1 edx -> 0x255\ndeny cpuid 7 ebx\n' >/tmp/rules
(sleep 4; printf a) | timeout -s KILL 60 vigia run --engine kvm --sandbox off --history none --net none --memory 64M --exit-port 0xf4 \
    --kvm-irqchip off --policy /tmp/rules --kernel /g/verdicts.elf 2>&1 | sed -n 's/^cpuid/RIG &/p'
timeout -s KILL 60 vigia run --engine kvm --sandbox off --kvm-irqchip off --name golden --net none --memory 64M --exit-port 0xf4 --kernel /g/golden.elf </dev/null >/dev/null 2>&1
vigia history golden --json --sql "SELECT 'RIG', class, op, addr, sum(count) AS n FROM events WHERE class IN ('port', 'mmio', 'msr', 'cpuid') GROUP BY 2, 3, 4" | cat
vm deadline32 --kernel /g/deadline32.elf --append 'vigia test'
vm deadline32off --kvm-irqchip off --kernel /g/deadline32.elf --append 'vigia test'
vm level32 --kvm-irqchip split --cpus 2 --kernel /g/level32.elf
vm split --kvm-irqchip split --kernel /g/deadline32.elf --append 'vigia test'
(sleep 1; grep HugePages_Rsvd /proc/meminfo | sed 's/^/RIG /') &
grep HugePages_ /proc/meminfo | sed "s/^/RIG /"; vm huge --hugepages on --kernel /g/level32.elf --cpus 2; tail -3 /tmp/out | sed "s/^/RIG /"
echo 8 >/proc/sys/vm/nr_hugepages
vigia run --engine kvm --hugepages on --memory 64M --kernel /g/level32.elf 2>&1 | sed 's/^/RIG /'
dd if=/dev/zero of=/tmp/disk bs=1M count=4 2>/dev/null
vm snapshot --disk /tmp/disk,format=raw,snapshot --kernel /g/level32.elf --cpus 2; tail -3 /tmp/out
"""


def assemble(w, source, name, *options):
    out = w.file(name)
    subprocess.run(["nasm", "-f", "bin", "-i", GUESTS + "/", *options, "-o", out, source], check=True)
    with open(out, "rb") as f:
        return f.read()


def bootable(w, suite):
    """A disk that loads a suite."""
    body = assemble(w, f"{GUESTS}/{suite}.asm", suite)
    sector = assemble(w, f"{GUESTS}/boot.asm", "sector", f"-DSECTORS={(len(body) + 511) // 512}")
    return w.file(f"{suite}.img", sector + body, 1 << 20)


def run(disk, engine):
    r = subprocess.run([vt.VIGIA, "run", "--board", "pc", "--engine", engine, "--net", "none", "--memory", "64M", "--exit-port", "0xf4",
                        "--history", "none", "--disk", f"{disk},if=ide,format=raw"], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=120 * vt.PATIENCE, check=False)
    return r.returncode, r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")


def chips(w):
    """Local APICs in the kernel, and here: interrupts between 32 processors."""
    r = subprocess.run([sys.executable, f"{GUESTS}/guest.py", "--cpus", "32", "--ways", "kvm,kvm off", vt.VIGIA, f"{GUESTS}/x2apic32.asm"],
                       capture_output=True, text=True, timeout=300 * vt.PATIENCE, check=False)
    vt.check(r.returncode == 0 and r.stdout.count("25 rows, 0 failed") == 2, f"x2APICs in the kernel and here{r.stdout if r.returncode else ''}")
    for board, chip, what in (("pc", "split", "needs --board micro"), ("micro", "full", "there is only auto|split|off")):
        status, _, err = vt.vigia("run", "--board", board, "--engine", "kvm", "--kvm-irqchip", chip, "--disk", w.file("none.img", size=512) + ",format=raw")
        vt.check(status == 1 and what in err, f"--kvm-irqchip {chip} on the board {board} is refused: {err.strip()}")


def pic(w):
    """Interrupts of the PIC beside local APICs in the kernel: none is missing in a state that is saved at any moment."""
    assemble(w, f"{HERE}/pic.asm", "pic.elf")
    state, rounds = w.file("pic.state"), int(os.environ.get("VIGIA_PIC_ROUNDS", "20"))
    vm = vt.VM("--engine", "kvm", "--kvm-irqchip", "split", "--sandbox", "off", "--history", "none", "--net", "none", "--memory", "16M", "--name",
               f"pic{os.getpid()}", "--kernel", w.file("pic.elf"))
    for i in range(rounds):
        with vm:
            vm.expect(r"\.", 30)
            status, _, err = vt.vigia("save", f"pic{os.getpid()}", state)
            vt.check(status == 0, f"saved amidst of interrupts {i} {err.strip()}")
            vm.wait(30)
        vm = vt.restored(state)
    with vm:
        vm.expect(r"\.\.", 30)
        vm.process.kill()


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        a20 = w.file("a20.img", assemble(w, f"{HERE}/a20.asm", "a20"), 1 << 20)
        smm = bootable(w, "smm")
        engines = ["soft"] + (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else [])
        for engine in engines:
            status, text = run(a20, engine)
            vt.check(status == GOOD, f"A20 on the engine {engine} {'' if status == GOOD else text[-2000:]}")
        if "kvm" in engines:
            chips(w)
            pic(w)
        _, text = run(smm, "soft")
        rows = re.search(r"\d+ rows, 0 failed, 0 skipped", text)
        vt.check(rows, "the suite of system management mode on soft")
        elves = [f"{GUESTS}/mb1", f"{GUESTS}/deadline32", f"{GUESTS}/level32", f"{HERE}/verdicts", f"{HERE}/golden"]
        for path in elves:
            assemble(w, f"{path}.asm", os.path.basename(path) + ".elf")
        r = rig.Rig([a20, smm] + [w.file(os.path.basename(path) + ".elf") for path in elves], SCRIPT)
        r.files.update({BIOS: BIOS, VGA_BIOS: VGA_BIOS})
        text = r.run(180)
        print("\n".join(line for line in text.splitlines() if "RIG" in line))
        if "RIG kvm" not in text:
            vt.skip("this host's QEMU gives no nested virtualization")
        vt.check(f"RIG a20: status {GOOD}" in text, "A20 where KVM executes")
        vt.check(f"RIG smm: status 1 {rows.group()}" in text, "system management mode where KVM executes, row by row as on soft")
        vt.check("RIG mb1: status 1 16 rows, 0 failed" in text, "a multiboot kernel where KVM executes")
        for what, value in (("redirect", "00000255"), ("deny", "00000000")):
            vt.check(f"RIG cpuid-{what}={value}" in text, f"a rule of CPUID: {what}")
        told = {(r["class"], r["op"], r["addr"]): r["n"] for r in map(json.loads, re.findall(r'\{"\'RIG\'.*\}', text))}
        vt.check(told == GOLDEN, f"the history has each access that KVM hands over, and no more: {told}")
        for name, what in (("huge", "reserved huge pages"), ("snapshot", "a disk of which nothing stays")):
            vt.check(f"RIG {name}: status 1 16 rows, 0 failed" in text, what)
        vt.check("takes 32 huge pages of 2 MiB, of the host's 8 8 are free: sudo sysctl vm.nr_hugepages=32" in text, "too few huge pages")
        vt.check("RIG level32: status 1 16 rows, 0 failed" in text, "level-triggered interrupts, local APICs in the kernel")
        for name, where in (("deadline32", "chosen by itself"), ("deadline32off", "here"), ("split", "in the kernel")):
            vt.check(f"RIG {name}: status 1 7 rows, 0 failed" in text, f"deadlines of a guest that has set its TSC, local APICs {where}")


if __name__ == "__main__":
    main()
