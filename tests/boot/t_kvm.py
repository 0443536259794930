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
vm hyperv --board pc --paravirt hyper-v --cpus 2 --disk /g/hyperv32.img,if=ide,format=raw
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
vm level32full --kvm-irqchip full --cpus 2 --kernel /g/level32.elf
vm full --kvm-irqchip full --kernel /g/deadline32.elf --append 'vigia test'
(sleep 1; grep HugePages_Rsvd /proc/meminfo | sed 's/^/RIG /') &
grep HugePages_ /proc/meminfo | sed "s/^/RIG /"; vm huge --hugepages on --kernel /g/level32.elf --cpus 2; tail -3 /tmp/out | sed "s/^/RIG /"
echo 8 >/proc/sys/vm/nr_hugepages
vigia run --engine kvm --hugepages on --memory 64M --kernel /g/level32.elf 2>&1 | sed 's/^/RIG /'
dd if=/dev/zero of=/tmp/disk bs=1M count=4 2>/dev/null
timeout -s KILL 60 vigia run --engine kvm --sandbox off --kvm-ioeventfd on --name bells --net none --memory 16M --exit-port 0xf4 --disk /tmp/disk,format=raw \
    --kernel /g/bells.elf </dev/null 2>&1 | sed 's/^/RIG /'
vigia history bells --json --sql "SELECT 'BELLS', vcpu, sum(count) AS n FROM events WHERE class='mmio' AND op='write' AND size=2 AND value=0 AND addr & 0xfff=0 GROUP BY 2" | cat
vm late --kernel /g/late.elf; vm late2 --cpus 2 --kvm-irqchip off --kernel /g/late.elf
for ring in on off; do rm -f /tmp/out
    VIGIA_STATE_COMPARE=1 vigia run --engine kvm --sandbox off --history none --name r$ring --net none --memory 64M --exit-port 0xf4 --kvm-dirty-ring $ring \
        --kernel /g/scribble.elf </dev/null >/tmp/out 2>&1 &
    n=0; while [ $n -lt 100 ] && ! grep -q '\.\.' /tmp/out; do sleep 0.1; n=$((n+1)); done
    for i in 1 2; do vigia save --keep r$ring /tmp/state && echo RIG ahead $ring; done
    vigia kill r$ring; grep -E 'WRONG|written' /tmp/out; rm -f /tmp/state
done
vm snapshot --disk /tmp/disk,format=raw,snapshot --kernel /g/level32.elf --cpus 2; tail -3 /tmp/out
"""


def assemble(w, source, name, *options):
    out = w.file(name)
    subprocess.run(["nasm", "-f", "bin", "-i", GUESTS + "/", "-i", HERE + "/", *options, "-o", out, source], check=True)
    with open(out, "rb") as f:
        return f.read()


def bootable(w, suite, *options):
    """A disk that loads a suite."""
    body = assemble(w, f"{GUESTS}/{suite}.asm", suite, *options)
    sector = assemble(w, f"{GUESTS}/boot.asm", "sector", f"-DSECTORS={(len(body) + 511) // 512}")
    return w.file(f"{suite}.img", sector + body, 1 << 20)


def run(disk, engine):
    r = subprocess.run([vt.VIGIA, "run", "--board", "pc", "--engine", engine, "--net", "none", "--memory", "64M", "--exit-port", "0xf4",
                        "--history", "none", "--disk", f"{disk},if=ide,format=raw"], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=120 * vt.PATIENCE, check=False)
    return r.returncode, r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")


def chips(w):
    """Local APICs in the kernel, and here: interrupts between 32 processors."""
    r = subprocess.run([sys.executable, f"{GUESTS}/guest.py", "--cpus", "32", "--ways", "kvm,kvm full,kvm off", vt.VIGIA, f"{GUESTS}/x2apic32.asm"],
                       capture_output=True, text=True, timeout=300 * vt.PATIENCE, check=False)
    vt.check(r.returncode == 0 and r.stdout.count("25 rows, 0 failed") == 3, f"x2APICs in the kernel and here{r.stdout if r.returncode else ''}")
    for board, chip, what in (("pc", "split", "needs --board micro"), ("pc", "full", "needs --board micro"), ("micro", "some", "there is only auto|full|split|off")):
        status, _, err = vt.vigia("run", "--board", board, "--engine", "kvm", "--kvm-irqchip", chip, "--disk", w.file("none.img", size=512) + ",format=raw")
        vt.check(status == 1 and what in err, f"--kvm-irqchip {chip} on the board {board} is refused: {err.strip()}")


def ticks(vm, pattern, name, what):
    """Interrupts come, or it is told what the processor did instead."""
    try:
        vm.expect(pattern, 30)
    except SystemExit:
        print(f"no interrupts: {what}", *vt.vigia("stats", name)[1:], sep="\n")
        raise


def pic(w, chip):
    """Interrupts of the PIC beside local APICs in the kernel, and of the kernel's own: none is missing in a state that is saved at any moment."""
    assemble(w, f"{HERE}/pic.asm", "pic.elf")
    state, rounds = w.file("pic.state"), int(os.environ.get("VIGIA_PIC_ROUNDS", "20"))
    name = f"pic{os.getpid()}"
    vm = vt.VM("--engine", "kvm", "--kvm-irqchip", chip, "--sandbox", "off", "--history", "none", "--net", "none", "--memory", "16M", "--name", name,
               "--kernel", w.file("pic.elf"))
    for i in range(rounds):
        with vm:
            ticks(vm, r"\.", name, f"--kvm-irqchip {chip}, start {i}")
            status, _, err = vt.vigia("save", name, state)
            vt.check(status == 0, f"saved amidst of interrupts {i} {err.strip()}")
            vm.wait(30)
        vm = vt.restored(state)
    with vm:
        ticks(vm, r"\.\.", name, f"--kvm-irqchip {chip}, at the end")
        vm.process.kill()


def large_pages(w):
    """RAM of a VM that starts under KVM may be in large pages: an exit brings 2 MiB of it."""
    name = f"large{os.getpid()}"
    with vt.VM("--engine", "kvm", "--history", "none", "--net", "none", "--memory", "16M", "--name", name, "--kernel", w.file("pic.elf")) as vm:
        ticks(vm, r"\.", name, "large pages")
        with open(f"/proc/{vm.process.pid}/smaps", encoding="ascii") as f:
            flags = [line.split()[1:] for line in re.split(r"(?m)^Size: *14336 kB$", f.read())[1].splitlines() if line.startswith("VmFlags")][0]
        vt.check("hg" in flags, f"its RAM beyond 2 MiB is what the host may have in large pages: {flags}")
        vm.process.kill()


def halted(w):
    """An NMI that the guest has had does not end its HLT."""
    image = w.file("nmi.elf", assemble(w, f"{HERE}/nmi.asm", "nmi"))
    with vt.VM("--engine", "kvm", "--kvm-irqchip", "off", "--history", "none", "--net", "none", "--memory", "16M", "--exit-port", "0xf4",
               "--kernel", image) as vm:
        vm.expect("!", 30)
        try:
            vm.process.wait(1)
        except subprocess.TimeoutExpired:
            pass
        vt.check(vm.process.returncode is None, f"the guest stays halted after an NMI {vm.process.returncode}")
        vm.process.kill()


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        a20 = w.file("a20.img", assemble(w, f"{HERE}/a20.asm", "a20"), 1 << 20)
        smm, hyperv = bootable(w, "smm"), bootable(w, "hyperv32", "-DSLOW")
        engines = ["soft"] + (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else [])
        for engine in engines:
            status, text = run(a20, engine)
            vt.check(status == GOOD, f"A20 on the engine {engine} {'' if status == GOOD else text[-2000:]}")
        if "kvm" in engines:
            chips(w)
            pic(w, "split")
            pic(w, "full")
            large_pages(w)
            halted(w)
        _, text = run(smm, "soft")
        rows = re.search(r"\d+ rows, 0 failed, 0 skipped", text)
        vt.check(rows, "the suite of system management mode on soft")
        elves = [f"{GUESTS}/mb1", f"{GUESTS}/deadline32", f"{GUESTS}/level32", f"{HERE}/verdicts", f"{HERE}/golden", f"{HERE}/bells", f"{HERE}/late", f"{HERE}/scribble"]
        for path in elves:
            assemble(w, f"{path}.asm", os.path.basename(path) + ".elf")
        r = rig.Rig([a20, smm, hyperv] + [w.file(os.path.basename(path) + ".elf") for path in elves], SCRIPT)
        r.files.update({BIOS: BIOS, VGA_BIOS: VGA_BIOS})
        text = r.run(600)
        print("\n".join(line for line in text.splitlines() if "RIG" in line))
        if "RIG kvm" not in text:
            vt.skip("this host's QEMU gives no nested virtualization")
        vt.check(f"RIG a20: status {GOOD}" in text, "A20 where KVM executes")
        vt.check(f"RIG smm: status 1 {rows.group()}" in text, "system management mode where KVM executes, row by row as on soft")
        vt.check("RIG hyperv: status 1 42 rows, 0 failed" in text, "Hyper-V's interface where KVM executes: hypercalls from ring 0 alone")
        vt.check("RIG mb1: status 1 16 rows, 0 failed" in text, "a multiboot kernel where KVM executes")
        for what, value in (("redirect", "00000255"), ("deny", "00000000")):
            vt.check(f"RIG cpuid-{what}={value}" in text, f"a rule of CPUID: {what}")
        told = {(r["class"], r["op"], r["addr"]): r["n"] for r in map(json.loads, re.findall(r'\{"\'RIG\'.*\}', text))}
        vt.check(told == GOLDEN, f"the history has each access that KVM hands over, and no more: {told}")
        heard = {r["vcpu"]: r["n"] for r in map(json.loads, re.findall(r'\{"\'BELLS\'.*\}', text))}
        vt.check("RIG rang 300" in text and heard == {0: 2, -1: 298}, f"doorbells by eventfd, each in the history: {heard}")
        for name, what in (("huge", "reserved huge pages"), ("snapshot", "a disk of which nothing stays")):
            vt.check(f"RIG {name}: status 1 16 rows, 0 failed" in text, what)
        vt.check(f"RIG late: status {GOOD}" in text and f"RIG late2: status {GOOD}" in text, "writes that come late")
        for ring in ("on", "off"):
            vt.check(text.count(f"RIG ahead {ring}") == 2, f"memory that is written to while it is saved, rings {ring}")
        vt.check("takes 32 huge pages of 2 MiB, of the host's 8 8 are free: sudo sysctl vm.nr_hugepages=32" in text, "too few huge pages")
        vt.check("RIG level32: status 1 16 rows, 0 failed" in text, "level-triggered interrupts, local APICs in the kernel")
        vt.check("RIG level32full: status 1 16 rows, 0 failed" in text, "level-triggered interrupts, all chips in the kernel")
        for name, where in (("deadline32", "chosen by itself"), ("deadline32off", "here"), ("split", "in the kernel"), ("full", "there with all chips")):
            vt.check(f"RIG {name}: status 1 7 rows, 0 failed" in text, f"deadlines of a guest that has set its TSC, local APICs {where}")


if __name__ == "__main__":
    main()
