/* SPDX-License-Identifier: ISC */
/* open.c: character streams by name, as the command line and VM definitions give them. */
#include "base/str.h"
#include "chr/open.h"
#include "chr/stdio.h"

/* What follows word and a colon in spec; NULL where it begins otherwise. */
static const char *after(const char *spec, const char *word)
{
	while (*word && *spec == *word) {
		spec++;
		word++;
	}
	return *word || *spec != ':' ? NULL : spec + 1;
}

int chr_open(struct plat_loop *loop, const char *spec, struct chr **out, char *errbuf, size_t size)
{
	const char *path;

	if (str_eq(spec, "none")) {
		str_format(errbuf, size, "out of memory");
		return chr_none_open(out);
	}
	if (str_eq(spec, "stdio"))
		return chr_stdio_open(loop, NULL, 0, out, errbuf, size);
	if (str_eq(spec, "pty"))
		return chr_pty_open(loop, out, errbuf, size);
	path = after(spec, "file");
	if (path && *path)
		return chr_file_open(loop, path, out, errbuf, size);
	path = after(spec, "unix");
	if (path && *path)
		return chr_unix_open(loop, path, out, errbuf, size);
	str_format(errbuf, size,
		   "unknown console '%s': use none, stdio, file:NAME, unix:NAME or pty", spec);
	return err_here(ERR_INVAL);
}
