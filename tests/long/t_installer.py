#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Debian is installed on an empty disk of the PC board, over the user network: partitions, file systems,
packages from the mirror that the host's apt uses, GRUB. The machine starts again by that GRUB, and a login
works. The installer is Debian itself, started from a CD by BIOS or UEFI, with debootstrap; --netboot runs
Debian's own netboot installer instead, to where it has asked the mirror for its components.

    t_installer.py [--firmware bios|uefi] [--disk ide|ahci|nvme|virtio] [--arch amd64|i386] [--kernel PACKAGE]
                   [--netboot] [--keep IMAGE] [--log FILE]"""
import argparse
import glob
import http.server
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import grub  # noqa: E402
import vigia_test as vt  # noqa: E402

NETBOOT = "/usr/lib/debian-installer/images/12/{arch}/text/debian-installer/{arch}"
CODENAME = "bookworm"
COMPONENTS = f"/dists/{CODENAME}/main/debian-installer/binary-"
KERNELS = {"amd64": "linux-image-amd64", "i386": "linux-image-686-pae"}
CACHE = os.path.join(vt.GUEST, "mirror")
DISKS = {"ide": "/dev/sda", "ahci": "/dev/sda", "nvme": "/dev/nvme0n1", "virtio": "/dev/vda"}
NAME = "installed"
# A busy host gives the guest too little of a processor for systemd's 90 seconds.
PATIENT = "systemd.default_timeout_start_sec=1800 systemd.default_device_timeout_sec=1800"

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

PARTITIONS = {
    "bios": "label: dos\\n,,L,*\\n",
    "uefi": "label: gpt\\n,64M,U\\n,,L\\n",
}
GRUB = {
    "bios": ("grub-pc", "grub-install {device}"),
    "uefi": ("grub-efi-amd64", "grub-install --target=x86_64-efi --efi-directory=/boot/efi --force-extra-removable"),
}

# What a person would do by hand; each line must end well.
INSTALL = """\
set -e
printf '{partitions}' | sfdisk -q {device}
udevadm settle
case {device} in *[0-9]) p={device}p;; *) p={device};; esac
if [ {firmware} = uefi ]; then mkfs.vfat -F 32 ${{p}}1 >/dev/null; root=${{p}}2; else root=${{p}}1; fi
mkfs.ext4 -q $root
mount $root /mnt
echo step: the base system
debootstrap --arch={arch} --variant=minbase \
    --include=systemd-sysv,udev,dbus,kmod,login,iproute2,initramfs-tools,zstd {codename} /mnt http://10.0.2.2:{port}/debian
for d in dev proc sys run; do mount --bind /$d /mnt/$d; done
echo {name} >/mnt/etc/hostname
echo "UUID=$(blkid -o value -s UUID $root) / ext4 errors=remount-ro 0 1" >/mnt/etc/fstab
if [ {firmware} = uefi ]; then
    mkdir -p /mnt/boot/efi
    mount ${{p}}1 /mnt/boot/efi
    echo "UUID=$(blkid -o value -s UUID ${{p}}1) /boot/efi vfat umask=77 0 1" >>/mnt/etc/fstab
fi
echo step: kernel and GRUB
export DEBIAN_FRONTEND=noninteractive
chroot /mnt apt-get -q -y --no-install-recommends install {kernel} {grub_package}
sed -i -e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0,115200 {patient}"/' \
    -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=2/' /mnt/etc/default/grub
echo 'GRUB_TERMINAL=serial' >>/mnt/etc/default/grub
mkdir -p /mnt/etc/systemd/system/dev-ttyS0.device.d
printf '[Unit]\\nJobRunningTimeoutSec=1800\\n' >/mnt/etc/systemd/system/dev-ttyS0.device.d/patient.conf
chroot /mnt {grub_install}
chroot /mnt update-grub
chroot /mnt passwd -d root
umount -R /mnt
sync
echo step: installed
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
    """On the loopback: /debian is apt's mirror, whose package files are kept in CACHE for the next run; other
    paths are texts."""

    def __init__(self, uri):
        self.uri = uri
        self.texts = {}
        self.asked, self.lost = [], []
        self.fetched = self.kept = 0
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
        path = path[len("/debian"):]
        kept = os.path.join(CACHE, path.lstrip("/")) if path.startswith("/pool/") else None
        if kept and os.path.exists(kept):
            self.kept += 1
            with open(kept, "rb") as f:
                return 200, f.read()
        try:
            with urllib.request.urlopen(self.uri + path, timeout=120) as r:
                body = r.read()
        except OSError as e:
            self.lost.append(path)
            return getattr(e, "code", 502), b""
        self.fetched += 1
        if kept:
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            part = f"{kept}.{os.getpid()}.{threading.get_ident()}"
            with open(part, "wb") as f:
                f.write(body)
            os.replace(part, kept)
        return 200, body


class Watched(vt.VM):
    """A VM whose console goes to a file too, and which is given up when nothing comes of it any more, neither on its console nor
    to the mirror, for QUIET seconds of its own time, or if it does not come to an end in LIMIT. That time stands still while
    the VM waits for a processor of the host: a busy host makes an installation long, not wrong."""

    QUIET, LIMIT = 600, 7200

    def __init__(self, server, log, *args):
        self.server = server
        self.log = open(log or os.devnull, "wb", buffering=0)
        super().__init__(*args)
        self.waited = 0
        self.seen, self.heard = None, self.own_time()

    def _read(self, timeout):
        before = len(self.output)
        more = super()._read(timeout)
        self.log.write(self.output[before:])
        return more

    def own_time(self):
        """Seconds from its start, but for those that the thread which waited longest for a processor has waited."""
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as f:
                    self.waited = max(self.waited, int(f.read().split()[1]) / 1e9)
            except OSError:
                pass  # the thread has ended
        return time.monotonic() - self.started - self.waited

    def look(self, what):
        """Gives it up, if it is time."""
        now, seen = self.own_time(), (len(self.output), len(self.server.asked))
        if seen != self.seen:
            self.seen, self.heard = seen, now
        if now - self.heard > self.QUIET * vt.PATIENCE:
            self.give_up(f"{what}: nothing has come for {now - self.heard:.0f} s of the VM's own time")
        if now > self.LIMIT * vt.PATIENCE:
            self.give_up(f"{what}: it lasts too long, {now:.0f} s of the VM's own time")

    def until(self, done, what):
        """Takes what comes until done() gives something."""
        while True:
            result = done()
            if result:
                return result
            self.look(what)
            if not self._read(0.5):
                return done() or self.give_up(f"{what}: the VM has ended (status {self.process.wait()})")

    def expect(self, pattern, timeout=None):
        """As VM's, but for its limit."""
        pattern = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        m = self.until(lambda: pattern.search(self.output, self.position), repr(pattern.pattern))
        self.position = m.end()
        return m

    def stage(self, name, pattern):
        m = self.expect(pattern)
        print(f"{time.monotonic() - self.started:7.0f} s, {self.own_time():.0f} of its own  {name}", flush=True)
        return m


def udebs(vm, server):
    """Which of the installer's components the mirror has: all that it asks for until it asks for no more."""
    before, quiet = -1, vm.own_time()
    while vm.own_time() < quiet + 60 * vt.PATIENCE:
        if len(server.asked) != before:
            before, quiet = len(server.asked), vm.own_time()
        vm.drain()
        time.sleep(1)
    asked = {os.path.basename(path) for path in server.asked if path.endswith(".udeb")}
    lost = {os.path.basename(path) for path in server.lost if path.endswith(".udeb")}
    print(f"{len(asked)} components asked for, of which the mirror does not have {len(lost)}: {' '.join(sorted(lost))}")
    if not lost and asked:
        vm.stage("its first question about disks, or the base system", r"(partition|base system)")


def netboot(w, args, server):
    images = NETBOOT.format(arch=args.arch)
    if not os.path.exists(images):
        vt.skip(f"needs the package debian-installer-12-netboot-{args.arch}")
    server.texts["/preseed"] = PRESEED.format(name=NAME, port=server.port, codename=CODENAME).encode()
    cd = grub.cd(w, os.path.join(images, "linux"), os.path.join(images, "initrd.gz"),
                 f"auto=true priority=critical preseed/url=http://10.0.2.2:{server.port}/preseed DEBIAN_FRONTEND=text")
    with Watched(server, args.log, "--firmware", args.firmware, "--memory", "1024M", "--net", "user", "--cdrom", cd) as vm:
        vm.stage("GRUB on the CD", r"from the CD")
        vm.stage("the kernel", r"Linux version")
        vm.stage("the network", r"Configuring the network with DHCP")
        vm.stage("the mirror", r"Checking the Debian archive mirror")
        vm.stage("its components", r"Loading additional components")
        vm.until(lambda: any(path.startswith("/debian" + COMPONENTS + args.arch) for path in server.asked), "the list of components")
        vt.check("/preseed" in server.asked, "the installer has its answers and the list of its components")
        udebs(vm, server)


def installed(vm, args):
    """What the installed system says of itself."""
    status, out = vm.shell("cat /etc/hostname; findmnt -no SOURCE /; test -d /sys/firmware/efi && echo by UEFI; true")
    print(out.strip())
    vt.check(NAME in out and DISKS[args.disk] in out, "the system on the disk runs")
    vt.check(("by UEFI" in out) == (args.firmware == "uefi"), f"started by {args.firmware}")
    status, out = vm.shell("dmesg --level=emerg,alert,crit,err")
    print("kernel errors:", out.strip() or "none")
    for bad in ("BUG", "Oops", "lockup", "I/O error", "EXT4-fs error"):
        vt.check(bad not in out, f"no {bad} in the kernel log")
    vm.send("poweroff\n")
    vm.wait(300)


def install(w, args, server):
    live = vt.tool("guest-disk", "--name", "installer", "--include", "debootstrap,fdisk,dosfstools,e2fsprogs,mount")
    base = live[:-len(".qcow2")]
    cd = grub.cd(w, base + ".vmlinuz", base + ".initrd", f"root=LABEL=vigia-root rw {PATIENT}")
    disk = args.keep or w.file("disk.qcow2")
    package, command = GRUB[args.firmware]
    device = DISKS[args.disk]
    script = INSTALL.format(device=device, partitions=PARTITIONS[args.firmware], firmware=args.firmware, name=NAME,
                            codename=CODENAME, port=server.port, patient=PATIENT, arch=args.arch, kernel=args.kernel or KERNELS[args.arch],
                            grub_package=package, grub_install=command.format(device=device))
    server.texts["/install"] = script.encode()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "4G"], check=True)
    options = ["--firmware", args.firmware, "--memory", "1024M", "--net", "user", "--boot", "disk,cdrom", "--cdrom",
               cd, "--disk", f"{disk},if={args.disk}", "--disk", f"{live},if=virtio,snapshot"]
    if args.firmware == "uefi":
        options += ["--vars", w.file("vars.fd")]
    with Watched(server, args.log, *options) as vm:
        vm.stage("GRUB on the CD", r"from the CD")
        vm.stage("login", r"login: ")
        vm.send("root\n")
        vm.expect(r"[#$] ")
        vm.send("stty -echo; PS1=; export TERM=dumb\n")
        vm.shell("true")
        vm.shell("until ip -4 route show default | grep -q via; do sleep 1; done")
        vm.send(f"wget -q -O /tmp/install http://10.0.2.2:{server.port}/install && sh /tmp/install; echo st''ep: end $?\n")
        for step in ("the base system", "kernel and GRUB", "installed"):
            if vm.stage(step, rf"step: (end|{step})").group(1) == b"end":
                vm.give_up("the installation has failed")
        vm.shell("true")
        vm.send("reboot\n")
        vm.stage("GRUB on the disk", r"GNU GRUB")
        vm.stage("login", rf"{NAME} login: ")
        vm.send("root\n")
        vm.expect(r"root@" + NAME)
        vm.send("stty -echo; PS1=; export TERM=dumb\n")
        vm.shell("true")
        installed(vm, args)
    vt.qemu_img_check(disk)
    print(f"{server.fetched} files fetched, {server.kept} kept from before")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="bios")
    parser.add_argument("--disk", choices=sorted(DISKS), default="ide")
    parser.add_argument("--arch", choices=sorted(KERNELS), default="amd64")
    parser.add_argument("--kernel", help="its package")
    parser.add_argument("--netboot", action="store_true", help="Debian's netboot installer, up to its components")
    parser.add_argument("--keep", help="where the installed disk stays (qcow2)")
    parser.add_argument("--log", help="where the console's output goes")
    args = parser.parse_args()
    if args.arch == "i386" and args.firmware == "uefi":
        parser.error("Debian's i386 has no GRUB for 64-bit UEFI")
    grub.needed()
    server = Mirror(mirror())
    with vt.Workdir() as w:
        (netboot if args.netboot else install)(w, args, server)


if __name__ == "__main__":
    main()
