#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""guests.py: kernels and bare-metal guests from Debian's packages: the 686, 686-pae, cloud and rt kernels
with a busybox to power-off, with 1, 2 and 8 CPUs, and memtest86+ (both builds) to the end of its first
pass.

  tests/long/guests.py VIGIA [686|686-2|686-pae|686-pae-8|cloud-amd64|rt-amd64-2|memtest-x64|memtest-ia32 …]

Packages are fetched with apt into a directory of their own (VIGIA_GUESTS, or a temporary one); the
host's package state is not touched. Takes minutes. A suffix -N: with N CPUs."""
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
echo "VIGIA $(/bin/busybox uname -m) cpus $(/bin/busybox grep -c ^processor /proc/cpuinfo)"
i=0; while [ $i -lt 50 ]; do i=$((i+1)); (exit 0); done
echo "VIGIA forked $i"
/bin/busybox poweroff -f
"""


class Apt:
    """apt with both architectures and its state in a directory."""

    def __init__(self, path):
        self.path = path
        for d in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(path, d), exist_ok=True)
        open(os.path.join(path, "status"), "a", encoding="ascii").close()
        self.options = []
        for o in ("APT::Architectures::=i386", "APT::Architectures::=amd64", f"Dir::State::lists={path}/lists",
                  f"Dir::Cache={path}/cache", f"Dir::State::status={path}/status"):
            self.options += ["-o", o]

    def run(self, *args):
        return subprocess.run([args[0], *self.options, *args[1:]], cwd=self.path, check=True, capture_output=True,
                              text=True).stdout

    def update(self):
        try:
            self.run("apt-get", "-q", "update")
        except subprocess.CalledProcessError as e:  # a mirror that is being updated: others may do
            print("apt-get update:", e.stderr.strip(), flush=True)

    def fetch(self, package):
        out = os.path.join(self.path, re.sub(r"\W", "_", package))
        if not os.path.isdir(out):
            before = set(glob.glob(f"{self.path}/*.deb"))
            self.run("apt-get", "-q", "download", package)
            for deb in set(glob.glob(f"{self.path}/*.deb")) - before:
                subprocess.run(["dpkg-deb", "-x", deb, out], check=True)
        return out

    def kernel(self, flavour):
        arch = arch_of(flavour)
        depends = self.run("apt-cache", "depends", f"linux-image-{flavour}:{arch}")
        package = re.search(r"Depends: (linux-image-\d[^\s:]*)", depends).group(1)
        return glob.glob(self.fetch(f"{package}:{arch}") + "/boot/vmlinuz-*")[0]


def arch_of(flavour):
    return "amd64" if flavour.endswith("amd64") else "i386"


def initramfs(apt, arch):
    root = os.path.join(apt.path, "root-" + arch)
    os.makedirs(root + "/bin", exist_ok=True)
    for d in ("proc", "dev"):
        os.makedirs(f"{root}/{d}", exist_ok=True)
    subprocess.run(["cp", apt.fetch("busybox-static:" + arch) + "/bin/busybox", root + "/bin/"], check=True)
    with open(root + "/init", "w", encoding="ascii") as f:
        f.write(INIT)
    os.chmod(root + "/init", 0o755)
    out = os.path.join(apt.path, "initrd-" + arch)
    with open(out, "wb") as f:
        names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=f, check=True)
    return out


def run(vigia, limit, until, *args):
    """Runs until the pattern is seen or the guest ends: (found, status or None, output)."""
    with tempfile.TemporaryFile() as log:
        p = subprocess.Popen([vigia, "run", "--net", "none", "--serial", "stdio", "--stop-timeout", "1", *args],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + limit
        found = None
        while time.monotonic() < end:
            done = p.poll() is not None
            text = os.pread(log.fileno(), 1 << 24, 0).decode(errors="replace")
            found = re.search(until, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", text))
            if found or done:
                break
            time.sleep(1)
        try:
            status = p.wait(60) if found and not until.startswith("Pass") else None
        except subprocess.TimeoutExpired:
            status = None
        if p.poll() is None:
            p.terminate()
            p.wait(30)
        return found, status, text


def linux(vigia, apt, name):
    flavour, cpus = re.fullmatch(r"(686|686-pae|(?:cloud-|rt-)?amd64)(?:-(\d+))?", name).groups("1")
    found, status, text = run(vigia, 1800, r"VIGIA forked 50", "--kernel", apt.kernel(flavour), "--initrd",
                              initramfs(apt, arch_of(flavour)), "--append", "console=ttyS0", "--memory", "256M", "--cpus", cpus)
    bad = [b for b in ("BUG:", "Oops", "Kernel panic", "general protection", "unchecked MSR") if b in text]
    seen = re.search(r"VIGIA \S+ cpus (\d+)", text)
    return found and status == 0 and not bad and seen and seen.group(1) == cpus, text


def memtest(vigia, apt, build):
    found, _, text = run(vigia, 1800, r"Pass: *1 *Errors: *0 ", "--kernel",
                         apt.fetch("memtest86+") + f"/boot/memtest86+{build}.bin", "--append", "console=ttyS0,115200",
                         "--memory", "32M")
    return found, text


def main():
    vigia = os.path.abspath(sys.argv[1])
    wanted = sys.argv[2:] or [f"{k}{n}" for k in ("686", "686-pae", "cloud-amd64", "rt-amd64") for n in ("", "-2", "-8")] + \
        ["memtest-x64", "memtest-ia32"]
    with tempfile.TemporaryDirectory() as d:
        apt = Apt(os.path.abspath(os.environ.get("VIGIA_GUESTS", d)))
        apt.update()
        failed = 0
        for name in wanted:
            start = time.monotonic()
            if name.startswith("memtest-"):
                good, text = memtest(vigia, apt, name[8:])
            else:
                good, text = linux(vigia, apt, name)
            print(f"{'ok' if good else 'FAILED'}: {name}, {time.monotonic() - start:.0f} s", flush=True)
            if not good:
                failed = 1
                print(text[-4000:])
        return failed


if __name__ == "__main__":
    sys.exit(main())
