/* SPDX-License-Identifier: ISC */
/* fuzz_def.c: definition files and command lines with anything in them. The first byte chooses. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctl/def.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", 0);
	struct vm_def def;
	struct msg msg = {""};
	char path[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	vm_def_init(&def);
	if (vm_def_load(&def, path, &msg) && (!msg.text[0] || strchr(msg.text, '\n')))
		abort();
	vm_def_fini(&def);
	close(fd);
}

static void as_arguments(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1), *argv[40];
	struct vm_def def;
	struct msg msg = {""};
	bool help;
	int argc = 1;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	copy[size] = 0;
	argv[0] = copy;
	for (char *p = strtok(copy, "\n"); p && argc < 40; p = strtok(NULL, "\n"))
		argv[argc++] = p;
	vm_def_init(&def);
	if (vm_def_parse(&def, argc, argv, &help, &msg) && !msg.text[0])
		abort();
	vm_def_fini(&def);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 4096)
		return 0;
	if (data[0] & 1)
		as_file(data + 1, size - 1);
	else
		as_arguments(data + 1, size - 1);
	return 0;
}
