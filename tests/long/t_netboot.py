#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Debian 12's netboot installer on the PC board, without a question asked: its kernel starts from a CD by
BIOS or UEFI, it finds the network card, has an address by DHCP, fetches its answers, and asks the mirror that the
host's apt uses, through a server on the loopback, for the list of its components.

    t_netboot.py [--firmware bios|uefi] [--log FILE]"""
import argparse
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import vigia_test as vt  # noqa: E402

NETBOOT = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
CODENAME = "bookworm"
COMPONENTS = f"/dists/{CODENAME}/main/debian-installer/binary-amd64/Packages"
NAME = "installed"

PRESEED = """\
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string {name}
d-i netcfg/get_domain string
d-i mirror/country string manual
d-i mirror/protocol string http
d-i mirror/http/hostname string 10.0.2.2:{port}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string {codename}
"""


def mirror():
    """The URI from which apt takes the release's main part."""
    out = subprocess.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)",
                          "Created-By: Packages"], stdout=subprocess.PIPE, text=True, check=False).stdout
    for line in out.splitlines():
        codename, component, uri = line.split(maxsplit=2)
        if codename == CODENAME and component == "main" and uri.startswith("http"):
            return uri.rstrip("/")
    return vt.skip(f"apt has no mirror of {CODENAME} by HTTP")


class Mirror:
    """On the loopback: /debian is apt's mirror; other paths are texts."""

    def __init__(self, uri):
        self.uri = uri
        self.texts = {}
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                status, body = outer.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path):
        self.asked.append(path)
        if path in self.texts:
            return 200, self.texts[path]
        if not path.startswith("/debian/") or ".." in path:
            return 404, b""
        try:
            with urllib.request.urlopen(self.uri + path[len("/debian"):], timeout=120) as r:
                return 200, r.read()
        except urllib.error.HTTPError as e:
            return e.code, b""
        except OSError:
            return 502, b""


def boot_cd(w, kernel, initrd, cmdline):
    """An image that BIOS and UEFI start: GRUB and a kernel."""
    tree = w.file("cd")
    os.makedirs(os.path.join(tree, "boot/grub"))
    shutil.copy(kernel, os.path.join(tree, "linux"))
    shutil.copy(initrd, os.path.join(tree, "initrd"))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w", encoding="ascii") as f:
        f.write("serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
                f"echo from the CD\nlinux /linux {cmdline} console=ttyS0,115200\ninitrd /initrd\nboot\n")
    image = w.file("boot.iso")
    r = subprocess.run(["grub-mkrescue", "-o", image, tree], capture_output=True, text=True, check=False)
    if r.returncode:
        vt.fail(f"grub-mkrescue: {r.stderr[-500:]}")
    return image


class Logged(vt.VM):
    """A VM whose console goes to a file too."""

    def __init__(self, log, *args):
        self.log = open(log or os.devnull, "wb", buffering=0)
        super().__init__(*args)

    def _read(self, timeout):
        before = len(self.output)
        more = super()._read(timeout)
        self.log.write(self.output[before:])
        return more

    def stage(self, name, pattern, timeout):
        m = self.expect(pattern, timeout)
        print(f"{time.monotonic() - self.started:7.0f} s  {name}", flush=True)
        return m


def netboot(w, args, server):
    if not os.path.exists(NETBOOT):
        vt.skip("needs the package debian-installer-12-netboot-amd64")
    server.texts["/preseed"] = PRESEED.format(name=NAME, port=server.port, codename=CODENAME).encode()
    cd = boot_cd(w, os.path.join(NETBOOT, "linux"), os.path.join(NETBOOT, "initrd.gz"),
                 f"auto=true priority=critical preseed/url=http://10.0.2.2:{server.port}/preseed DEBIAN_FRONTEND=text")
    with Logged(args.log, "--firmware", args.firmware, "--memory", "1024M", "--net", "user", "--cdrom", cd) as vm:
        vm.stage("GRUB on the CD", r"from the CD", 120)
        vm.stage("the kernel", r"Linux version", 600)
        vm.stage("the network", r"Configuring the network with DHCP", 1200)
        vm.stage("the mirror", r"Checking the Debian archive mirror", 1200)
        vm.stage("its components", r"Loading additional components", 1200)
        deadline = time.monotonic() + 600 * vt.PATIENCE
        while not any(path.startswith("/debian" + COMPONENTS) for path in server.asked):
            if time.monotonic() > deadline:
                vm.give_up("the installer does not ask for its components")
            vm.drain()
            time.sleep(1)
        vt.check("/preseed" in server.asked, "the installer has its answers and the list of its components")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="bios")
    parser.add_argument("--log", help="where the console's output goes")
    args = parser.parse_args()
    if not all(map(shutil.which, ("grub-mkrescue", "xorriso", "mformat"))):
        vt.skip("needs the packages grub-common, grub-pc-bin, grub-efi-amd64-bin, xorriso, mtools")
    server = Mirror(mirror())
    with vt.Workdir() as w:
        netboot(w, args, server)


if __name__ == "__main__":
    main()
