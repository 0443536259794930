/* SPDX-License-Identifier: ISC */
/* yaml.c: definition files. The schema is made from the options that have OPT_DEF, so that a key is
 * an option's name and its value what the option takes; those with OPT_MULTI are lists. Called by
 * the main thread. */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/def.h"

#define MAX_KEYS 64

/* What a file gives for one key. */
struct value {
	union {
		char *one;
		char **list;
	};
	unsigned n; /* of the list */
};

struct document {
	struct value value[MAX_KEYS];
};

/* cyaml's own messages, the last of them kept: "…(line 3, column 5)". */
static void take_log(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	char *last = ctx, line[200];

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	/* The first says what is wrong, the next lines where: keep both, shortly. */
	if (!last[0])
		snprintf(last, 200, "%s", !strncmp(line, "Load: ", 6) ? line + 6 : line);
	else if (strstr(line, "line:") && !strstr(last, "line:") && strlen(last) < 100)
		snprintf(last + strlen(last), 200 - strlen(last), " %s",
			 line + strspn(line, "Load: -"));
}

static const cyaml_schema_value_t list_entry = {
	.type = CYAML_STRING,
	.flags = CYAML_FLAG_POINTER,
	.data_size = sizeof(char),
	.string = {.min = 0, .max = CYAML_UNLIMITED},
};

static unsigned make_schema(const struct command *cmd, cyaml_schema_field_t *fields,
			    const struct opt **opts)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cmd->n_opts && n < MAX_KEYS; i++) {
		const struct opt *o = &cmd->opts[i];
		size_t at = offsetof(struct document, value) + n * sizeof(struct value);

		if (!(o->flags & OPT_DEF))
			continue;
		opts[n] = o;
		fields[n] = (cyaml_schema_field_t){.key = o->name, .data_offset = (uint32_t)at};
		fields[n].value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
		if (o->flags & OPT_MULTI) {
			fields[n].value.type = CYAML_SEQUENCE;
			fields[n].value.data_size = sizeof(char *);
			fields[n].value.sequence.entry = &list_entry;
			fields[n].value.sequence.max = 64;
			fields[n].count_offset = (uint32_t)(at + offsetof(struct value, n));
			fields[n].count_size = sizeof(unsigned);
		} else {
			fields[n].value.type = CYAML_STRING;
			fields[n].value.data_size = sizeof(char);
			fields[n].value.string.max = CYAML_UNLIMITED;
		}
		n++;
	}
	return n;
}

static int apply(struct vm_def *def, const struct document *doc, const struct opt **opts,
		 unsigned n, const char *path, struct msg *msg)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		const struct value *v = &doc->value[i];

		if (opts[i]->flags & OPT_MULTI) {
			for (unsigned k = 0; k < v->n && !err; k++)
				err = opt_set(opts[i], v->list[k], def, msg);
		} else if (v->one) {
			err = opt_set(opts[i], v->one, def, msg);
		}
	}
	if (err)
		msg_prefix(msg, path);
	return err;
}

/* A file of one definition, or (list) of several. Gives the documents, to be freed with the schema that
 * is left in *top. */
struct reader {
	cyaml_schema_field_t fields[MAX_KEYS + 1];
	const struct opt *opts[MAX_KEYS];
	unsigned n_opts;
	char last[200];
	cyaml_schema_value_t entry, top;
	cyaml_config_t config;
	struct document *doc;
	unsigned n; /* of a list */
};

static int read_file(struct reader *r, bool list, const char *path, struct msg *msg)
{
	cyaml_err_t cerr;

	*r = (struct reader){.n = 0};
	r->n_opts = make_schema(&cmd_run, r->fields, r->opts);
	r->entry = (cyaml_schema_value_t){
		.type = CYAML_MAPPING,
		.flags = list ? CYAML_FLAG_DEFAULT : CYAML_FLAG_POINTER,
		.data_size = sizeof(struct document),
		.mapping = {.fields = r->fields},
	};
	r->top = (cyaml_schema_value_t){
		.type = CYAML_SEQUENCE,
		.flags = CYAML_FLAG_POINTER,
		.data_size = sizeof(struct document),
		.sequence = {.entry = &r->entry, .min = 1, .max = 64},
	};
	r->config = (cyaml_config_t){
		.log_fn = take_log,
		.log_ctx = r->last,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_DEFAULT,
	};
	if (access(path, R_OK))
		return msg_fail(msg, ERR_NOENT, "cannot read %s: %s", path, strerror(errno));
	cerr = cyaml_load_file(path, &r->config, list ? &r->top : &r->entry,
			       (cyaml_data_t **)&r->doc, list ? &r->n : NULL);
	if (cerr != CYAML_OK)
		return msg_fail(msg, ERR_FORMAT,
				"%s: %s%s%s; keys are the options of vigia run --help", path,
				cyaml_strerror(cerr), r->last[0] ? ": " : "", r->last);
	return 0;
}

int vm_def_load(struct vm_def *def, const char *path, struct msg *msg)
{
	struct reader r;
	int err = read_file(&r, false, path, msg);

	if (err)
		return err;
	err = r.doc ? apply(def, r.doc, r.opts, r.n_opts, path, msg) : 0;
	cyaml_free(&r.config, &r.entry, r.doc, 0);
	return err;
}

int vm_fleet_load(struct vm_def *defs, unsigned max, unsigned *n, const char *path, struct msg *msg)
{
	struct reader r;
	int err = read_file(&r, true, path, msg);

	*n = 0;
	if (err)
		return err;
	if (r.n > max)
		err = msg_fail(msg, ERR_NOMEM, "%s: at most %u VMs", path, max);
	for (unsigned i = 0; i < r.n && !err; i++) {
		vm_def_init(&defs[i]);
		(*n)++;
		err = apply(&defs[i], &r.doc[i], r.opts, r.n_opts, path, msg);
		if (!err)
			err = vm_def_check(&defs[i], msg);
	}
	cyaml_free(&r.config, &r.top, r.doc, r.n);
	return err;
}
