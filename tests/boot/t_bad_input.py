#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Everything a user can get wrong: one clear line on stderr, exit status 1, no file changed."""
import hashlib
import os
import socket
import subprocess

import vigia_test as vt


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def expect_refusal(args, says, unchanged=(), env=None):
    before = {p: digest(p) for p in unchanged}
    status, out, err = vt.vigia("run", "--net", "none", "--serial", "none", *args, timeout=30, env=env)
    lines = [line for line in err.splitlines() if line.strip()]
    shown = " ".join(args)[-100:]
    if status != 1:
        vt.fail(f"{shown}: exit status {status}, stderr {err!r}")
    if len(lines) != 1:
        vt.fail(f"{shown}: not one line: {err!r}")
    if not any(s.lower() in lines[0].lower() for s in says.split("|")):
        vt.fail(f"{shown}: {lines[0]!r} does not say {says!r}")
    for p, d in before.items():
        if digest(p) != d:
            vt.fail(f"{shown}: {p} was changed")
    print(f"ok: {lines[0]}")


def qemu_img(*args):
    subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL)


kernel, initrd = vt.kernel(), vt.initramfs()
with vt.Workdir() as dir_:
    f = dir_.file
    zeros = f("zeros", size=1 << 20)
    empty = f("empty", b"")
    with open(kernel, "rb") as k:
        image = k.read()
    cut = f("cut", image[:len(image) // 3])
    tiny_cut = f("tinycut", image[:700])
    text = f("text", b"this is no kernel\n" * 200)
    elf = f("elf")
    with open("/bin/true", "rb") as t:
        f("elf", t.read())

    expect_refusal([], "--kernel")
    expect_refusal(["--kernel", "/nonexistent/vmlinuz"], "no such file")
    expect_refusal(["--kernel", dir_.path], "not a regular file|directory")
    expect_refusal(["--kernel", empty], "empty")
    expect_refusal(["--kernel", text], "kernel")
    expect_refusal(["--kernel", zeros], "kernel")
    expect_refusal(["--kernel", cut], "truncated|ends|cut|short|incomplete")
    expect_refusal(["--kernel", tiny_cut], "truncated|ends|cut|short|incomplete|kernel")
    expect_refusal(["--kernel", elf], "PVH|kernel")
    expect_refusal(["--kernel", kernel, "--initrd", "/nonexistent/initrd"], "no such file")
    expect_refusal(["--kernel", kernel, "--initrd", initrd, "--memory", "24M"], "memory")
    expect_refusal(["--kernel", kernel, "--memory", "4M"], "from 16")
    expect_refusal(["--kernel", kernel, "--memory", "33M", "--hugepages", "on"], "no multiple of 2M")
    expect_refusal(["--kernel", kernel, "--memory", "1024G", "--hugepages", "on"], "sysctl vm.nr_hugepages=")
    expect_refusal(["--kernel", kernel, "--append", "x" * 5000], "command line")
    expect_refusal(["--kernel", kernel, "--frobnicate"], "unknown option")
    expect_refusal(["--kernel", kernel, "--cpus", "99"], "1 to 32")
    expect_refusal(["--kernel", kernel, "--engine", "kwm"], "auto|soft|kvm")
    expect_refusal(["--kernel", kernel, "--disk", "/nonexistent/disk"], "no such file")
    expect_refusal(["--kernel", kernel, "--disk", dir_.path], "director|regular|is not")
    if os.geteuid() != 0:
        secret = f("secret", size=4096)
        os.chmod(secret, 0)
        expect_refusal(["--kernel", kernel, "--disk", secret], "permission")

    good = f("good.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", good, "64M")
    with open(good, "rb") as g:
        header = bytearray(g.read())

    def patched(name, at, value):
        data = bytearray(header)
        data[at:at + len(value)] = value
        return f(name, bytes(data))

    expect_refusal(["--kernel", kernel, "--disk", f"{zeros},format=qcow2"], "qcow2", [zeros])
    expect_refusal(["--kernel", kernel, "--disk", f("short.qcow2", bytes(header[:60]))], "qcow2|truncated|short")
    p = patched("bigclusters.qcow2", 20, (40).to_bytes(4, "big"))
    expect_refusal(["--kernel", kernel, "--disk", p], "cluster", [p])
    p = patched("version.qcow2", 4, (9).to_bytes(4, "big"))
    expect_refusal(["--kernel", kernel, "--disk", p], "version", [p])
    p = patched("refcounts.qcow2", 48, (1 << 50).to_bytes(8, "big"))
    expect_refusal(["--kernel", kernel, "--disk", p], "refcount|reference", [p])
    p = patched("l1.qcow2", 40, (1 << 55).to_bytes(8, "big"))
    expect_refusal(["--kernel", kernel, "--disk", p], "L1|table", [p])
    p = patched("crypt.qcow2", 32, (2).to_bytes(4, "big"))
    expect_refusal(["--kernel", kernel, "--disk", p], "crypt", [p])

    base, top = f("base.qcow2"), f("top.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", base, "64M")
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", top)
    os.rename(base, base + ".gone")
    expect_refusal(["--kernel", kernel, "--disk", top], "base.qcow2", [top])
    os.rename(base + ".gone", base)
    qemu_img("rebase", "-q", "-u", "-F", "qcow2", "-b", "top.qcow2", base)
    expect_refusal(["--kernel", kernel, "--disk", top], "loop|own backing|chain", [top, base])
    expect_refusal(["--kernel", kernel, "--disk", good, "--disk", good], "in use|lock|twice", [good])

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        expect_refusal(["--kernel", kernel, "--net", f"user,forward=tcp:127.0.0.1:{port}:22"], "in use|busy")
    expect_refusal(["--kernel", kernel, "--net", "user,forward=nonsense"], "forward")
    expect_refusal(["--kernel", kernel, "--net", "carrier-pigeon"], "user")
    f("libslirp.so.0", b"not a library")
    expect_refusal(["--kernel", kernel, "--net", "user"], "install the package libslirp0", env={"LD_LIBRARY_PATH": dir_.path})
    if os.geteuid() != 0:  # root makes the interface
        expect_refusal(["--kernel", kernel, "--net", "tap:nosuchif0"], "nosuchif0|tap|permi")
    expect_refusal(["--kernel", kernel, "--serial", "teleprinter"], "stdio")
    expect_refusal(["--kernel", kernel, "--serial", f"file:{dir_.path}/no/such/file"], "no such file|cannot")

    for args, says in ((["rnu"], "did you mean"), (["frobnicate"], "unknown command"), ([], "usage"),
                       (["stop"], "argument is missing"), (["stop", "nobody"], "no VM nobody"),
                       (["console", "../x"], "not a VM's name"), (["list", "--jsn"], "--json")):
        status, _, err = vt.vigia(*args)
        vt.check(status == 1 and says in err, f"vigia {' '.join(args)}: {err.strip().splitlines()[0]}")
