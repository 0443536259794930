/* SPDX-License-Identifier: ISC */
/* pump.c: sends or receives TCP without end, 128 KiB at a time as iperf3 does: pump send|receive ADDRESS PORT. For
 * paired.py, in the guest. Hosted. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char buf[128 * 1024];
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (argc < 4 || fd < 0 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 1;
	to.sin_port = htons((unsigned short)atoi(argv[3]));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("pump");
		return 1;
	}
	if (!strcmp(argv[1], "send"))
		while (write(fd, buf, sizeof(buf)) > 0)
			;
	else
		while (read(fd, buf, sizeof(buf)) > 0)
			;
	return 0;
}
