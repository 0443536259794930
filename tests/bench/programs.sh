#!/bin/sh
# SPDX-License-Identifier: ISC
# programs.sh: programs of Debian packages, each doing a piece of work; runs on the host and in guests.
#   programs.sh SECONDS [NAME…]      SECONDS: of those that measure themselves
# The directory it lies in has text, compute.c with its headers and stones.py, and takes what is written. Prints
# "BENCH name program value unit checksum": s of a whole run, or time for a piece of it. Less is better. Packages (*.deb)
# that lie there are installed: only guests have some.
cd "$(dirname "$0")" || exit 1
seconds=$1
shift

# timed NAME COMMAND…: its standard output must be the same everywhere
timed() {
	name=$1; shift
	a=$(date +%s%N)
	"$@" >out 2>err || { echo "BENCH-FAILED $name: $(tail -n 3 err)"; return; }
	b=$(date +%s%N)
	echo "BENCH $name ${class:-program} $(awk -v t=$((b - a)) 'BEGIN { printf "%.4f", t / 1e9 }') s $(md5sum <out | cut -c 1-16)"
}

# told NAME UNIT VALUE: what a program measured itself
told() {
	case $3 in
	[0-9]*[1-9]* | [1-9]*) echo "BENCH $1 program $3 $2 -" ;;
	*) echo "BENCH-FAILED $1: it said '$3'" ;;
	esac
}

do_gzip() { timed gzip gzip -n -c text; }
do_xz() { timed xz xz -T1 -2 -c text; }

sql() {
	echo 'PRAGMA journal_mode = MEMORY; CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER, c TEXT); BEGIN;'
	awk 'BEGIN { for (i = 1; i <= 12000; i++)
		printf "INSERT INTO t VALUES (%d, %d, \x27row %d of many\x27);\n", i, i * 7919 % 104729, i * 31 % 977 }'
	echo 'COMMIT; CREATE INDEX tb ON t (b); CREATE INDEX tc ON t (c);'
	awk 'BEGIN { for (i = 0; i < 1500; i++)
		printf "SELECT count(*), sum(b) FROM t WHERE b BETWEEN %d AND %d;\n", i * 61, i * 61 + 900 }'
	echo "SELECT c, count(*), max(b) FROM t WHERE c LIKE '%7 of%' GROUP BY c ORDER BY 3 DESC LIMIT 50;"
	echo 'UPDATE t SET b = b + a WHERE a % 3 = 0; DELETE FROM t WHERE b % 5 = 0; SELECT count(*), sum(b) FROM t;'
	echo 'SELECT count(*) FROM t x JOIN t y ON x.b = y.a;'
}
run_sql() { rm -f db && sqlite3 db <sql; }
do_sqlite3() { sql >sql; timed sqlite3 run_sql; }

do_python3() { timed python3 python3 stones.py 6; }

# The assembly, without the line that names the compiler's build; by full path, lest a cache answers
compile() { /usr/bin/gcc -O2 -S -o asm compute.c && grep -v '\.ident' asm; }
do_gcc() { timed gcc compile; }

# openssl_rate NAME ALGORITHM: bytes a second, as time for a MiB
openssl_rate() {
	told "$1" us "$(openssl speed -mr -elapsed -seconds "$seconds" -bytes 16384 -evp "$2" 2>/dev/null |
		awk -F: '/^\+F:/ { if ($NF > 0) printf "%.3f", 1048576e6 / $NF }')"
}
do_openssl() {
	openssl_rate openssl-sha256 sha256
	openssl_rate openssl-aes aes-128-gcm
	told openssl-rsa us "$(openssl speed -mr -elapsed -seconds "$seconds" rsa2048 2>/dev/null |
		awk -F: '/^\+F2:/ { if ($4 > 0) printf "%.3f", 1e6 / $4 }')"
}

# sysbench_time TEST OPTION…: what it counts in a second, as time for one
sysbench_time() {
	test=$1; shift
	sysbench "$test" --time="$seconds" "$@" run 2>/dev/null | awk '
		/total time:/ { sub("s", "", $3); t = $3 }
		/total number of events:/ { n = $5 }
		/Total operations:/ { n = $3 }
		END { if (n > 0) printf "%.4f", t * 1e6 / n }'
}
do_sysbench() {
	told sysbench-cpu us "$(sysbench_time cpu --cpu-max-prime=10000)"
	told sysbench-memory us "$(sysbench_time memory --memory-total-size=100T)"
	told sysbench-threads us "$(sysbench_time threads --threads=4 --thread-yields=100 --thread-locks=4)"
}

# Instructions of its model in a second (MIPS), as time for a million
do_7z() {
	told 7z us "$(7z b 1 -mmt1 -md18 -mtime="$seconds" 2>/dev/null | awk '/^Tot:/ { if ($NF > 0) printf "%.3f", 1e6 / $NF }')"
}

# What apt-get says differs from one to the next: what came of it does not.
install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ./*.deb >log 2>&1 || tail -n 3 log >&2
	for deb in *.deb; do
		dpkg-query -W -f '${Package} ${Version} ${Status}\n' "${deb%%_*}"
	done
}
do_apt() { [ ! -e "$(echo ./*.deb | cut -d' ' -f1)" ] || class=system timed apt-install install; }

# A small busybox by its own makefiles: many programs that run for a short time
build() (
	rm -rf busybox && mkdir busybox && tar -x -f busybox.tar -C busybox --strip-components=1 && cd busybox &&
		make allnoconfig && sed -i 's/.*CONFIG_ECHO.*/CONFIG_ECHO=y/' .config && yes '' | make oldconfig &&
		make CC=/usr/bin/gcc HOSTCC=/usr/bin/gcc busybox
) >log 2>&1
built() { build || tail -n 3 log >&2; busybox/busybox echo built; }
do_build() { class=system timed build-busybox built; }

# Of as many threads as there may be CPUs: not by themselves, but for what more CPUs bring
do_parallel() {
	told sysbench-cpu us "$(sysbench_time cpu --cpu-max-prime=10000 --threads=4)"
	told sysbench-memory us "$(sysbench_time memory --memory-total-size=100T --threads=4)"
	timed xz xz -T4 -2 --block-size=512KiB -c text
}

for p in ${*:-gzip xz sqlite3 python3 gcc openssl sysbench 7z apt}; do
	"do_$p"
done
