# SPDX-License-Identifier: ISC
"""rig: a machine in which /dev/kvm really executes: QEMU's TCG with -cpu EPYC emulates AMD's virtualization,
and Debian's kernel with kvm-amd runs on it from an initramfs that holds vigia, its libraries and a guest.

  Rig(files, script).run(timeout) gives what the console showed. script: lines for its shell; the guest's files
are in /g. append: more for the command line of its kernel; programs: more than vigia that are in /bin; options: more
for QEMU. Needs qemu-system-x86_64; about 5 s to start."""
import os
import shutil
import subprocess
import tempfile

import vigia_test as vt

MODULES = ["drivers/crypto/ccp/ccp.ko", "virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko"]
INTEL_MODULES = ["virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko"]  # for Bochs

# Its clock goes with the instructions, whatever else the host does: what takes a second there always takes one.
ICOUNT = ("-icount", "shift=0,sleep=off")

# KVM takes the TSC's rate when it is loaded. Where the kernel finds a better one after that, more than 250 ppm higher, KVM wants to slow its guests'
# TSCs down, which this processor cannot ("user requested TSC rate below hardware speed"): no deadline comes then. So it is loaded later.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ XDG_RUNTIME_DIR=/run
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp /var/tmp /run
mount -t tmpfs tmp /tmp
n=0; while [ $n -lt 50 ] && grep -q tsc-early /sys/devices/system/clocksource/clocksource0/current_clocksource; do sleep 0.1; n=$((n+1)); done
for m in /m/*.ko; do insmod $m; done
[ -c /dev/kvm ] && echo RIG kvm || echo RIG no kvm
. /script
echo RIG end
poweroff -f
"""


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        for word in line.split():
            if word.startswith("/"):
                yield word


class Rig:
    def __init__(self, files, script, memory=1500, append="", programs=(), options=(), modules=(), cpu="EPYC"):
        if not shutil.which("qemu-system-x86_64"):
            vt.skip("qemu-system-x86_64 is not there")
        self.kernel = vt.unpacked_kernel()
        self.files = {"/g/" + os.path.basename(f): f for f in files}
        self.programs = {"vigia": vt.VIGIA, **{os.path.basename(p): p for p in programs}}
        self.options = options
        self.modules = modules or MODULES
        self.cpu = cpu
        self.script = script
        self.memory = memory
        self.append = "console=ttyS0 quiet panic=-1 mitigations=off " + append

    def pack(self, work):
        """The initramfs, as cpio."""
        root = os.path.join(work, "root")
        base = os.path.dirname(self.kernel)
        with open(os.path.join(base, "version"), encoding="ascii") as f:
            moddir = os.path.join(base, "lib/modules", f.read().strip(), "kernel")
        files = dict(self.files)
        files["/bin/busybox"] = shutil.which("busybox")
        for name, program in self.programs.items():
            files["/bin/" + name] = program
            for lib in libraries(program):
                files[lib] = os.path.realpath(lib)
        for i, m in enumerate(self.modules):
            path = os.path.join(moddir, m)
            if not os.path.exists(path):
                vt.skip(f"{m} is not among the kernel's modules")
            files[f"/m/{i}-{os.path.basename(m)}"] = path
        for dst, src in files.items():
            os.makedirs(root + os.path.dirname(dst), exist_ok=True)
            shutil.copy(src, root + dst)
        for d in ("proc", "sys", "dev", "run"):
            os.makedirs(os.path.join(root, d), exist_ok=True)
        for name, text in (("init", INIT), ("script", self.script + "\n")):
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(text)
            os.chmod(os.path.join(root, name), 0o755)
        image = os.path.join(work, "rig.cpio")
        with open(image, "wb") as out:
            names = subprocess.run(["find", "."], cwd=root, stdout=subprocess.PIPE, check=True).stdout
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=out, check=True)
        return image

    def run(self, timeout=120):
        with tempfile.TemporaryDirectory(prefix="vigia-rig-") as work:
            image = self.pack(work)
            cmd = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", self.cpu, "-m", str(self.memory), "-kernel", self.kernel,
                   "-initrd", image, "-append", self.append, "-nographic", "-no-reboot",
                   "-nic", "none", "-monitor", "none", "-serial", "stdio", *self.options]
            try:
                r = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   timeout=timeout * vt.PATIENCE, check=False)
                text = r.stdout
            except subprocess.TimeoutExpired as e:
                text = e.stdout or b""
        return text.decode(errors="replace")
