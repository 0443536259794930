# SPDX-License-Identifier: ISC
# guest-lib.sh: sourced by the guest-* tools. Says where guest material is kept and how to report.
# shellcheck shell=bash

vigia_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Kernels, initramfs images and disks for tests and for quickstart; reused until deleted.
guest_dir=${VIGIA_GUEST_DIR:-$vigia_root/guest}
mkdir -p "$guest_dir"

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
	guest_bold=$'\e[1m' guest_plain=$'\e[0m'
else
	guest_bold='' guest_plain=''
fi

say() { printf '%s%s:%s %s\n' "$guest_bold" "${0##*/}" "$guest_plain" "$*" >&2; }
die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# need COMMAND PACKAGE: stops unless the command is there.
need() {
	command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"
}

# Candidate version of a package, with a refresh of apt's lists (where that is allowed) if unknown.
candidate() {
	local v
	v=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
	if [ -z "$v" ] || [ "$v" = "(none)" ]; then
		[ "$(id -u)" != 0 ] || apt-get update -qq >&2 || true
		v=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
	fi
	[ -n "$v" ] && [ "$v" != "(none)" ] || die "apt knows no package $1: check its sources, run apt-get update"
	printf '%s\n' "$v"
}

# The Debian archives (and no others) that the host's apt is configured with.
debian_sources() {
	apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
		awk -F'|' '$1 == "Debian" { sub(/\/$/, "", $2); print "deb " $2 " " $3 " " $4 }' | sort -u
}
