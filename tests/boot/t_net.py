#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The user network from busybox: a lease, a file from the host, a forwarded port; two cards; none."""
import hashlib
import os
import socket
import time

import vigia_test as vt

content = os.urandom(2 << 20)
server = vt.WebServer(content)
with vt.VM("--net", "user", *vt.busybox(f"vigia.run=net vigia.url={server.guest_url}")) as vm:
    vm.expect(r"VIGIA net address=10\.0\.2\.15", 120)
    got = vm.expect(r"VIGIA fetched ([0-9a-f]{32})", 120).group(1).decode()
    vt.check(got == hashlib.md5(content).hexdigest(), "2 MiB came unchanged")
    vm.wait(60)

port, udp = vt.free_port(), vt.free_port()
with vt.VM("--net", f"user,forward=tcp:127.0.0.1:{port}:80,forward=udp:127.0.0.1:{udp}:9", "--net", "user",
           *vt.busybox("vigia.run=net vigia.end=shell")) as vm:
    vm.expect(r"VIGIA shell", 120)
    vm.send("ls /sys/class/net; mkdir -p /tmp/w; echo served >/tmp/w/index.html; httpd -p 80 -h /tmp/w; echo rea''dy\n")
    vm.expect(r"eth1", 30)
    vm.expect(r"ready", 30)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            answer = b""
            while data := s.recv(4096):
                answer += data
        if b"served" in answer:
            break
        time.sleep(0.5)
    vt.check(b"served" in answer, "a forwarded port answers")
    vm.send("poweroff -f\n")
    vm.wait(60)
