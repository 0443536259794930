#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""SIGTERM and SIGINT ask, then stop; Ctrl-A keys; the terminal is as before on every way out."""
import os
import signal
import termios
import time

import vigia_test as vt


def modes(vm):
    return termios.tcgetattr(vm.slave)


def on_terminal(what, end, status=0, *more):
    with vt.VM("--net", "none", "--stop-timeout", "5", *more, *vt.busybox("vigia.end=shell"), tty=True) as vm:
        before = modes(vm)
        vm.expect(r"VIGIA shell", 120)
        vt.check(not modes(vm)[3] & termios.ECHO, "the terminal is raw while the VM runs")
        vm.send("echo to''gether\n")
        vm.expect(r"together", 30)
        end(vm)
        vm.wait(60, status=status)
        vt.check(modes(vm) == before, f"{what}: the terminal is as before")


def two_signals(vm):
    began = time.monotonic()
    vm.signal(signal.SIGTERM)
    time.sleep(0.3)
    vm.signal(signal.SIGTERM)
    vm.process.wait(20)
    vt.check(time.monotonic() - began < 4.5, "a second signal stops at once")


def sigint(vm):
    began = time.monotonic()
    vm.signal(signal.SIGINT)
    vm.process.wait(20)
    vt.check(4.8 < time.monotonic() - began < 15, "a deaf guest is stopped after the timeout")
    vt.check("power" in vm.stderr(), "and the user is told")


on_terminal("power-off", lambda vm: vm.send("poweroff -f\n"))
on_terminal("Ctrl-A x", lambda vm: vm.send("\x01x"))
on_terminal("SIGTERM twice", two_signals)
on_terminal("SIGINT", sigint)
on_terminal("SIGHUP", lambda vm: vm.signal(signal.SIGHUP))

with vt.VM("--net", "none", *vt.busybox("vigia.end=shell"), tty=True) as vm:
    vm.expect(r"VIGIA shell", 120)
    vm.send("\x01h")
    vm.expect(r"leave", 10)
    print("ok: Ctrl-A h lists the keys")
    vm.send("cat -v\n\x01\x01\n")
    vm.expect(r"\^A", 10)
    print("ok: Ctrl-A Ctrl-A is Ctrl-A")
    vm.send("\x01x")
    vm.wait(20)

# A start that fails must leave the terminal alone too.
with vt.VM("--kernel", "/nonexistent", tty=True) as vm:
    before = modes(vm)
    vm.wait(20, status=1)
    vt.check(modes(vm) == before, "a failing start leaves the terminal alone")

# Input from a pipe that ends is no reason to end.
with vt.VM("--net", "none", *vt.busybox("vigia.run=cpus")) as vm:
    os.close(os.dup(vm.in_fd))
    vm.process.stdin.close()
    vm.expect(r"VIGIA cpus=1", 120)
    vm.wait(60)
    print("ok: the end of input does not end the VM")
