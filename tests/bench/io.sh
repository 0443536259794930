#!/bin/sh
# SPDX-License-Identifier: ISC
# io.sh: fio on the second virtio disk and iperf3 through the user network or a tap; runs in guests. The time for a
# request, or for a MiB of network: less is better.
#   io.sh SECONDS HOST PORT [NAME…]      HOST, PORT: iperf3's server
seconds=$1 host=$2 port=$3
shift 3

# disk NAME RW SIZE DEPTH FIELD: requests a second stand there in fio's line
disk() {
	fio --name=x --filename=/dev/vdb --direct=1 --ioengine=libaio --rw="$2" --bs="$3" --iodepth="$4" \
		--time_based --runtime="$seconds" --output-format=terse --terse-version=3 2>/tmp/err | awk -F';' -v f="$5" -v name="$1" '
		NF > 100 && $f > 0 { printf "BENCH %s io %.3f us -\n", name, 1e6 / $f; ok = 1 }
		END { if (!ok) print "BENCH-FAILED " name ": fio said " $0 }'
}

# net NAME OPTION…: Mbit a second, as the receiver has it
net() {
	name=$1; shift
	iperf3 -c "$host" -p "$port" -t "$seconds" -f m "$@" 2>&1 | awk -v name="$name" '
		/receiver/ && $7 > 0 { printf "BENCH %s io %.1f us -\n", name, 8388608 / $7; ok = 1 }
		{ last = $0 }
		END { if (!ok) print "BENCH-FAILED " name ": iperf3 said " last }'
}

do_read4k() {
	disk disk-randread-4k randread 4k 32 8
}
do_write4k() {
	disk disk-randwrite-4k randwrite 4k 32 49
}
do_fio() {
	do_read4k
	do_write4k
	disk disk-read-128k read 128k 8 8
	disk disk-write-128k write 128k 8 49
}
do_send() {
	net net-to-host
}
do_receive() {
	net net-from-host -R
}
do_iperf3() {
	do_send
	do_receive
}
do_tap() {
	net tap-to-host
	net tap-from-host -R
}

echo BENCH-BEGINS

for p in ${*:-fio iperf3}; do
	"do_$p"
done
