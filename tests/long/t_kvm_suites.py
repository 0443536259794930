#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The suites of tests/guest under --engine kvm where KVM executes, in the rig. QEMU's TCG, which is the processor there, fails many rows of those of
real, protected and long mode by itself, or stops at them: what fails under KVM must fail on the bare machine, too, but for rows whose reason is known
(KVMS). VIGIA_KVM_SUITES: only these. Some minutes."""
import glob
import os
import re
import shutil
import subprocess
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

GUESTS = os.path.join(vt.ROOT, "tests/guest")
QEMU = "qemu-system-x86_64"
FIRMWARE = ["/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin"]

# At which rows QEMU 7.2 stops for good, or resets: they run nowhere here. Others are found, each in some seconds.
STOPS = {"real16": [88, 90, 91, 92, 93, 94, 95, 139, 141, 172, 174, 196, 203, 204, 205, 206], "sys32": [2930, 2932], "sys64": [16408, 16632, 16688, 16744, 16800, 16856, 16912, 16968, 17024, 17080, 17136], "la57": [14000, 14056]}
# The processor where it is not EPYC, and options of `vigia run`, for these
CPUS = {"la57": "EPYC,+la57"}
OPTIONS = {"la57": "--cpu host-la57"}
# Suites without rows that fail on the emulated processor: options, status
WHOLE = {"mb2": ("", 1), "x2apic32": ("--cpus 32", 1), "x2apic32 full": ("--cpus 32 --kvm-irqchip full", 1), "x2apic32 off": ("--cpus 32 --kvm-irqchip off", 1),
         "ferr32": ("", 1), "triple": ("", 2), "smp64": ("--cpus 4", 1), "smp64 off": ("--cpus 4 --kvm-irqchip off", 1),
         "irqs32": ("--net user,model=e1000 --cdrom /g/irqs32.elf --floppy none --parallel file:/dev/null", 1)}
PC = ["real16", "irqs32"]  # a boot sector loads them
# Four processors share the rig's one, which runs each for milliseconds however it spins, as TCG has no pause filter: with all rounds two rows
# take 84 and 681 s.
DEFINES = {"smp64": ["-DFENCED=100", "-DUNFENCED=200"]}

# Rows that fail for another reason than on the bare machine
KVMS = {
    # KVM's local APIC holds no NMI until after a SIPI, and sends what has a vector below 16.
    "smp64": ["NMI while it waits for SIPI: held until after that", "two of them: one is kept", "fixed with vector below 16: error, nothing sent"],
    # KVM has no exit for FERR#.
    "ferr32": ["IRQ 13 at one that does", "once", "and again, once the error was cleared", "by one interrupt", "no IGNNE# once the error was cleared",
               "the same by the I/O APIC", "with CR0.NE set: #MF and no interrupt"],
    # QEMU's walks set the accessed bit in entries of PAE's page directory pointer table, where it is reserved ("a walk leaves the PDPTE as it is"
    # fails on the bare machine): KVM, which QEMU leaves loading them to, refuses such a table.
    "sys32": [f"PAE: PDPTE changed, {what}" for what in ("CR4.PGE", "CR4.PSE", "CR0.CD", "CR0.PG")],
    # KVM does port accesses without a look at DR7. QEMU does not leave the guest for XSETBV, of which KVM then does not know: no guest has AVX.
    "sys64": ["#DB: I/O breakpoint"] + [f"FP switches: kind 4 EM0 TS0 MP{mp} OSFXSR{fxsr}" for fxsr in (0, 1) for mp in (0, 1)],
}

# Rows that may fail there: a thousand ticks a second, with local APICs here, are about as many as the rig has time for
SLOW = {"irqs32": [f"{chip}: {clock}: a guest that was held up gets all ticks, and no more" for chip in ("PIC", "I/O APIC") for clock in ("8254", "HPET", "RTC")]}


def assemble(w, name, *options):
    out = w.file(f"{name}.elf")
    subprocess.run(["nasm", "-f", "bin", "-i", GUESTS + "/", *options, "-o", out, f"{GUESTS}/{name}.asm"], check=True)
    return out


def skips(stops):
    return ["-DSKIPS=" + ",".join(map(str, stops))] if stops else []


def cpu(name):
    return CPUS.get(name, "EPYC")


def bare(w, name, stops):
    """Rows that fail on the bare machine, with the names of all that ran there; stops: those at which it stops become more."""
    while True:
        elf = assemble(w, name, "-DSHOWN=9000", "-DSHORT", "-DTRACE", *skips(stops))
        r = subprocess.run(["timeout", str(int(5 * vt.PATIENCE)), QEMU, "-accel", "tcg,thread=single", "-cpu", cpu(name), "-m", "64", "-display", "none",
                            "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot", "-kernel", elf, "-append", "vigia test",
                            "-device", "isa-debug-exit,iobase=0xf4"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        text = r.stdout.decode(errors="replace")
        names = {int(n): row for n, row in re.findall(r"(?m)^(\d+) ([^\r\n]*)\r?$", text)}
        if re.search(r"\d+ rows, \d+ failed", text):
            return failed(text), names
        last = max(names)
        vt.check(last not in stops and len(stops) < 60, f"{name}: the bare machine stops at row {last}: {names[last]}")
        stops.append(last)


def failed(text):
    return [int(n) for n in re.findall(r"(?m)^(?:[^\n]*: )?F(\d+)\r?$", text)]


def last_line(text):
    m = re.search(r"(\d+) rows, (\d+) failed, (\d+) skipped", text)
    return m.group() if m else "it did not come to its end"


def bootable(w, elf):
    """A disk whose boot sector loads the suite, for a PC."""
    with open(elf, "rb") as f:
        body = f.read()
    with open(assemble(w, "boot", f"-DSECTORS={(len(body) + 511) // 512}"), "rb") as f:
        return w.file(os.path.basename(elf).replace(".elf", ".img"), f.read() + body, 1 << 20)


def image(w, name, *options):
    elf = assemble(w, name, *options)
    return bootable(w, elf) if name in PC else elf


def start(image):
    path = f"/g/{os.path.basename(image)}"
    return f"--board pc --disk {path},if=ide,format=raw" if image.endswith(".img") else f"--kernel {path} --append 'vigia test'"


def script(rows):
    """rows: (name, image, options): what each has said, line by line with its name before it."""
    return "dmesg -n 1\n" + "\n".join(
        f"timeout -s KILL {int(150 * vt.PATIENCE)} vigia run --engine kvm --sandbox off --history none {'' if '--net' in options else '--net none'} --memory 64M --exit-port 0xf4 {options} "
        f"{start(image)} </dev/null >/tmp/out 2>&1; echo \"{name}: status $?\" >>/tmp/out; sed 's/^/{name}: /' /tmp/out"
        for name, image, options in rows)


def slirp():
    """For a card on the user-mode network, which is opened when it is needed."""
    found = glob.glob("/usr/lib/*/libslirp.so.0") or vt.skip("needs the package libslirp0")
    return [found[0], *rig.libraries(found[0])]


def in_rig(rows):
    """What they say: in one machine for each kind of processor."""
    text = ""
    for kind in dict.fromkeys(cpu(name) for name, _, _ in rows):
        some = [row for row in rows if cpu(row[0]) == kind]
        elves = [image.replace(".img", ".elf") for _, image, _ in some]
        machine = rig.Rig([image for _, image, _ in some] + elves, script(some), cpu=kind)
        machine.files.update({path: os.path.realpath(path) for path in FIRMWARE + slirp()})
        text += machine.run(200 * len(some))
    return text


def again(w, name, bad, names):
    """Names of these rows that fail once more, with nothing but them: one was seen to fail in some runs and not in others."""
    new = [n for n in bad if names.get(n) not in KVMS.get(name, [])]
    if new:
        alone = image(w, name, "-DSHOWN=9000", "-DSHORT", *skips(sorted({*names, *STOPS[name]} - {*new})))
        twice = failed(in_rig([(name, alone, OPTIONS.get(name, ""))]))
        for n in new:
            print(f"{name}: {names.get(n)}: {'twice' if n in twice else 'once, and not a second time alone'}")
        bad = [n for n in bad if n not in new or n in twice]
    return [names.get(n, f"row {n}") for n in bad]


def main():
    if not shutil.which("nasm") or not shutil.which(QEMU):
        vt.skip("needs the packages nasm and qemu-system-x86")
    only = os.environ.get("VIGIA_KVM_SUITES", ",".join([*STOPS, *WHOLE])).split(",")
    with vt.Workdir() as w:
        alone, rows = {}, []
        for name in [n for n in STOPS if n in only]:
            alone[name] = bare(w, name, STOPS[name])
            rows.append((name, image(w, name, "-DSHOWN=9000", "-DSHORT", *skips(STOPS[name])), OPTIONS.get(name, "")))
        rows += [(name, image(w, name.split()[0], *DEFINES.get(name.split()[0], [])), options) for name, (options, _) in WHOLE.items() if name in only]
        text = in_rig(rows)
        if "RIG kvm" not in text:
            vt.skip("this host's QEMU gives no nested virtualization")
        wrong = []
        for name, _, _ in rows:
            said = "\n".join(re.findall(rf"(?m)^{name}: ([^\r\n]*)", text))
            status = re.search(r"status (\d+)$", said)
            status = int(status[1]) if status else None
            if name in alone:
                fails, names = alone[name]
                bad = again(w, name, [n for n in failed(said) if n not in fails], names)
                good = status in (1, 3) and "rows," in said and bad == KVMS.get(name, [])
                what = f"{last_line(said)}, all but {len(bad)} of which fail without KVM, too ({len(fails)} do)"
            else:
                bad = re.findall(r"(?m)^FAIL (.*?): want", said)
                slow = [b for b in bad if b in SLOW.get(name, [])]
                good = [b for b in bad if b not in slow] == KVMS.get(name, []) and ("rows, " in said or status == 2) and (status == WHOLE[name][1] if not bad else status == 3)
                what = last_line(said) if status != 2 else "a triple fault"
            print(f"{'ok' if good else 'WRONG'}: {name}: status {status}, {what}" + "".join(f"\n  {b}" for b in bad))
            if not good:
                wrong.append(name)
        vt.check(not wrong, f"what fails is known{': but for ' + ', '.join(wrong) if wrong else ''}")


if __name__ == "__main__":
    main()
