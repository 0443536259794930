# SPDX-License-Identifier: ISC
"""What tests of the bare-metal hypervisor share: its image, and what they need beside it."""
import os
import shutil
import socket
import subprocess
import sys
import time

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import bochs  # noqa: E402

QEMU = "qemu-system-x86_64"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "metal")
ELF = os.path.join(FOLDER, "vigia.elf")
SOFT_ELF = os.path.join(FOLDER, "vigia-soft.elf")


def missing(*programs, elf=ELF):
    """What is not there; None: all is."""
    for program in programs:
        if not shutil.which(program):
            return f"{program} is missing: tools/packages test"
    if os.path.exists(elf):
        return None
    return f"no {elf}: builds with sanitizers have none" + (", nor those with -Dmetal_soft=false" if elf == SOFT_ELF else "")


def need(*programs, elf=ELF):
    """Skips the test where a program or the image is not there."""
    why = missing(*programs, elf=elf)
    if why:
        vt.skip(why)


def need_vmx(*programs):
    """Ends the test as skipped where Bochs, or what makes an image for it, is not there."""
    lacks = bochs.missing() or missing("grub-mkrescue", "xorriso", *programs)
    if lacks:
        vt.skip(f"VMX is not tried: {lacks} is missing: tools/packages test")


def assemble(out, source, *options):
    """tests/SOURCE as a flat image; include files are beside it, or in tests/boot."""
    path = os.path.join(vt.ROOT, "tests", source)
    folders = [o for folder in (os.path.dirname(path), os.path.join(vt.ROOT, "tests/boot")) for o in ("-i", folder + "/")]
    subprocess.run(["nasm", "-f", "bin", *folders, *options, "-o", out, path], check=True)
    return out


def packed(out, fleet, *options):
    """An image or module of the fleet, which is YAML, and what vigia pack says of it."""
    definition = out + ".yaml"
    with open(definition, "w", encoding="utf-8") as f:
        f.write(fleet)
    status, said, errors = vt.vigia("pack", definition, "-o", out, *options)
    if status:
        vt.fail(f"vigia pack: {errors}")
    return out, said


def pack(out, fleet, *options):
    return packed(out, fleet, *options)[0]


def vm(name, *keys, memory="16M", net="none"):
    """A VM of a fleet."""
    return "\n  ".join((f"- name: {name}", f"memory: {memory}", f'net: ["{net}"]', *keys)) + "\n"


def small(name, kernel, *keys, memory="16M"):
    """One with a guest of ours."""
    return vm(name, f"kernel: {kernel}", *keys, memory=memory)


def linux(name, append, *keys, memory="96M", net="none", end="shell", kernel=None):
    """One with Debian's kernel, as the ELF file within it, and the busybox initramfs."""
    return vm(name, f"kernel: {kernel or vt.unpacked_kernel()}", f"initrd: {vt.initramfs()}", f"append: console=ttyS0 quiet {append} vigia.end={end}",
              *keys, memory=memory, net=net)


class Machine(vt.VM):
    """A machine in QEMU that starts an image (a CD, or a disk), or elf (by PVH) with a module or without; the hypervisor's console."""

    def __init__(self, fleet, *args, elf=ELF, kind="q35", cpu="EPYC", memory=384, smp=1, threads="single"):
        # strict: SeaBIOS, which is there before PVH, takes no memory for disks, which would be where QEMU puts the module
        boot = ["-boot", "strict=on", "-kernel", elf, *(["-initrd", fleet] if fleet else [])]
        if fleet and fleet.endswith(".iso"):
            boot = ["-boot", "d", "-cdrom", fleet]
        if fleet and fleet.endswith(".img"):
            boot = ["-boot", "c", "-drive", f"file={fleet},format=raw,snapshot=on"]
        # One thread for all processors: see "Bare metal" in ARCHITECTURE.md.
        super().__init__(command=[QEMU, "-accel", f"tcg,thread={threads}", "-cpu", cpu, "-M", kind, "-m", str(memory), "-smp", str(smp),
                                  "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", *boot, *args])

    def to(self, name=None):
        """To the hypervisor's shell, or from there to a VM's console."""
        self.send("\x010")
        self.expect(r"vigia> ", 60)
        if name:
            self.send(f"console {name}\n")
            self.expect(r"Ctrl-A 0 goes back", 60)
            self.send("\n")

    def poweroff(self):
        self.send("poweroff\n")
        self.wait(60)


def on_disks(work, names, out="fleet.cpio"):
    """A module, or an image, that boots a Debian kernel on each of these disks, which are the machine's; each writes and reads its own."""
    return pack(work.file(out), "".join(linux(f"on-{name}", "vigia.run=disk", f'disk: ["host:{name}"]') for name in names))


def attempts_held(vm, name, what):
    """A guest of attempt.inc comes to its end, and all was as the manuals say. How many attempts there were."""
    vm.said(rf"{name}\| (NOT )?all attempts held", 600)
    text = vm.output.decode(errors="replace")
    n = text.count(f"{name}| held: ")
    vt.check(n and "NOT HELD" not in text and "NOT all" not in text, f"{what}: {n} attempts are held")
    return n


def entries(vm, name):
    """How often the VM's first vCPU was entered."""
    vm.send("stats\n")
    return int(vm.expect(rf"{name} +cpu [^\n]*entries (\d+) ", 60)[1])


class Monitor:
    """QEMU's, for a machine that was started with its options()."""

    def __init__(self, work, name="monitor"):
        self.path = os.path.join(work.path, name)
        self.socket = None

    def options(self):
        return ["-monitor", f"unix:{self.path},server=on,wait=off"]

    def ask(self, command):
        if not self.socket:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(60 * vt.PATIENCE)
            self.socket.connect(self.path)
            self._prompt()
        self.socket.sendall(command.encode() + b"\n")
        return self._prompt()

    def _prompt(self):
        said = b""
        while not said.endswith(b"(qemu) "):
            part = self.socket.recv(65536)
            if not part:
                vt.fail("QEMU's monitor has gone")
            said += part
        return said.decode(errors="replace")

    def type(self, text):
        """By the machine's keyboard."""
        names = {" ": "spc", "\n": "ret", "-": "minus", "|": "shift-backslash"}
        for c in text:
            self.ask("sendkey " + (names.get(c) or ("shift-" + c.lower() if c.isupper() else c)))
            time.sleep(0.15)

    def screen(self, path):
        """Width, height and rows of bytes R G B."""
        self.ask(f"screendump {path}")
        with open(path, "rb") as f:
            kind, size, _, data = f.read().split(b"\n", 3)
        w, h = map(int, size.split())
        if kind != b"P6":
            vt.fail(f"a picture of kind {kind}")
        return w, h, [data[y * w * 3:(y + 1) * w * 3] for y in range(h)]
