#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""smoke.py VIGIA run OPTIONS…: boots a Debian guest, logs in on the serial console, fetches a file from
a server on this host through the VM's network, compares it, powers the guest off."""
import hashlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vigia_test as vt  # noqa: E402


def say(text):
    print(f"smoke: {text}", flush=True)


def main():
    if len(sys.argv) < 3 or sys.argv[2] != "run":
        sys.exit(__doc__)
    content = os.urandom(1 << 20)
    server = vt.WebServer(content)
    with vt.VM(*sys.argv[3:], vigia=sys.argv[1]) as vm:
        say(f"login prompt after {vm.login():.1f} s")
        for _ in range(30):
            status, _ = vm.shell("ip -4 route show default | grep -q via")
            if status == 0:
                break
            time.sleep(1)
        vt.check(status == 0, "the network is up")
        status, out = vm.shell(f"wget -q -O /tmp/file {server.guest_url} && sha256sum /tmp/file", 120)
        vt.check(status == 0 and hashlib.sha256(content).hexdigest() in out,
                 "a file of 1 MiB came through the network unchanged")
        vm.send("poweroff\n")
        vm.wait(120)
        say(f"powered off, exit status 0, {time.monotonic() - vm.started:.1f} s in all")


main()
