#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A full Debian: systemd, virtio disk, network; login, nothing failed, a file fetched, a port
forwarded, a polite power-off by SIGTERM. 2 CPUs."""
import hashlib
import os
import re
import signal
import socket
import time

import vigia_test as vt

content = os.urandom(300000)
server = vt.WebServer(content)
port = vt.free_port()
with vt.VM("--cpus", "2", "--memory", "768M", "--net", f"user,forward=tcp:127.0.0.1:{port}:7777",
           "--stop-timeout", "60", *vt.debian()) as vm:
    print(f"login after {vm.login():.1f} s")
    for _ in range(60):
        status, out = vm.shell("systemctl is-system-running")
        if not re.search(r"starting|initializing", out):
            break
        time.sleep(1)
    _, failed = vm.shell("systemctl --failed --no-legend --plain")
    vt.check("running" in out and status == 0, f"systemd says {out.strip()!r}, failed: {failed.strip()!r}")
    for _ in range(30):
        if vm.shell("ip -4 route show default | grep -q via")[0] == 0:
            break
        time.sleep(1)
    status, out = vm.shell(f"wget -q -O - {server.guest_url} | sha256sum", 120)
    vt.check(hashlib.sha256(content).hexdigest() in out, "a file came through the network")
    status, out = vm.shell("dd if=/dev/urandom of=/root/a bs=1M count=24 status=none && sync && "
                           "sha256sum </root/a && echo 3 >/proc/sys/vm/drop_caches && sha256sum </root/a", 240)
    sums = re.findall(r"\b[0-9a-f]{64}\b", out)
    vt.check(status == 0 and len(sums) == 2 and sums[0] == sums[1], "24 MiB on the disk read back as written")
    vm.send("python3 -c 1 2>/dev/null; perl -MIO::Socket::INET -e '$s=IO::Socket::INET->new(LocalPort=>7777,"
            "Listen=>1,ReuseAddr=>1); print \"listens\\n\"; $c=$s->accept; print $c \"hello\\n\"; close $c'\n")
    vm.expect(r"listens\r?\n", 60)
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        vt.check(s.recv(100) == b"hello\n", "a forwarded port reaches the guest")
    status, out = vm.shell("dmesg --level=emerg,alert,crit,err", 60)
    print("kernel errors:", out.strip() or "none")
    for bad in ("BUG", "Oops", "lockup", "I/O error", "EXT4-fs error"):
        vt.check(bad not in out, f"no {bad} in the kernel log")
    vm.signal(signal.SIGTERM)
    vm.wait(120)
    vt.check(b"Power down" in vm.output or b"Powering off" in vm.output, "the power button shut the system down")
    vt.check("did not power off" not in vm.stderr(), "in time")
