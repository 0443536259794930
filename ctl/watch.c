/* SPDX-License-Identifier: ISC */
/* watch.c: joins a VM to its history and its policy. Main thread; the tap is called by whichever thread
 * the guest's output comes on, the tick by the history's. */
#include "ctl/watch.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "chr/mux.h"
#include "monitor/policy.h"
#include "x86/cpuid.h"

/* ---- files ------------------------------------------------------------------------------------- */

static int make_folder(const char *path)
{
	char part[4096];

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(part, 0700) && errno != EEXIST)
			return ERR_ACCES;
		*p = '/';
	}
	return mkdir(part, 0700) && errno != EEXIST ? ERR_ACCES : 0;
}

/* "vm-123.history" and what SQLite keeps beside it: of a VM that nobody has given a name. */
static bool is_nameless(const char *name)
{
	size_t n = strspn(name + MIN(strlen(name), (size_t)3), "0123456789");

	return !strncmp(name, "vm-", 3) && n && !strncmp(name + 3 + n, ".history", 8);
}

/* Once a day: when it was last, an empty file tells. */
static bool sweep_due(const char *dir)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/swept", dir);
	if (!lstat(path, &st) && time(NULL) - st.st_mtime < 86400 && st.st_mtime <= time(NULL))
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return true;
	(void)futimens(fd, NULL);
	close(fd);
	return true;
}

/* Histories of nameless VMs that have ended long ago: no later run bounds them. */
static void sweep_folder(const char *dir)
{
	DIR *d = sweep_due(dir) ? opendir(dir) : NULL;
	const struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (is_nameless(e->d_name) &&
		    !fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    time(NULL) - st.st_mtime > HISTORY_MAX_DAYS * 86400)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

int watch_path(const char *name, bool create, char *path, size_t size, struct msg *msg)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char dir[3900];

	if (strchr(name, '/')) {
		snprintf(path, size, "%s", name);
		return 0;
	}
	if (state && state[0] == '/')
		snprintf(dir, sizeof(dir), "%s/vigia", state);
	else if (home && home[0] == '/')
		snprintf(dir, sizeof(dir), "%s/.local/state/vigia", home);
	else
		return msg_fail(msg, ERR_NOENT, "no place for histories: set HOME");
	if (create && make_folder(dir))
		return msg_fail(msg, ERR_ACCES, "cannot make the folder %s: %s", dir,
				strerror(errno));
	if (create)
		sweep_folder(dir);
	snprintf(path, size, "%s/%s.history", dir, name);
	return 0;
}

int watch_find(const char *name, char *path, size_t size, struct msg *msg)
{
	int err = watch_path(name, false, path, size, msg);

	if (!err && access(path, F_OK) && !access(name, F_OK))
		snprintf(path, size, "%s", name);
	return err;
}

/* A text that is the caller's to free(). */
static char *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	char *text = f ? malloc(WATCH_POLICY_MAX + 1) : NULL;

	*len = text ? fread(text, 1, WATCH_POLICY_MAX + 1, f) : 0;
	if (text && (ferror(f) || *len > WATCH_POLICY_MAX)) {
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	return text;
}

/* ---- policy ----------------------------------------------------------------------------------------- */

#define INCLUDES 64

struct includes {
	const char *file; /* that began it all */
	char *text[INCLUDES];
	unsigned n;
	char *flat; /* all in one, NULL: not wanted, or no memory */
	size_t flat_len, flat_room;
};

static void add_line(void *arg, const char *text, size_t len)
{
	struct includes *inc = arg;

	if (!inc->flat)
		return;
	if (inc->flat_len + len + 2 > inc->flat_room) {
		size_t room = 2 * (inc->flat_room + len + 2);
		char *more = realloc(inc->flat, room);

		if (!more)
			free(inc->flat);
		inc->flat = more;
		if (!more)
			return;
		inc->flat_room = room;
	}
	memcpy(inc->flat + inc->flat_len, text, len);
	inc->flat_len += len;
	inc->flat[inc->flat_len++] = '\n';
	inc->flat[inc->flat_len] = 0;
}

/* Names are relative to the first file's folder. */
static int include(void *arg, const char *from, const char *name, const char **text, size_t *len)
{
	struct includes *inc = arg;
	const char *slash = strrchr(inc->file, '/');
	char path[4096];

	if (name[0] == '/' || !slash)
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - inc->file), inc->file, name);
	if (inc->n == INCLUDES)
		return ERR_NOMEM;
	inc->text[inc->n] = read_file(path, len);
	if (!inc->text[inc->n])
		return ERR_NOENT;
	*text = inc->text[inc->n++];
	return 0;
}

static int compile(const struct policy_source *src, struct policy **out, struct msg *msg)
{
	struct policy_error e;
	int err = policy_compile(src, out, &e);

	if (err == ERR_FORMAT)
		return msg_fail(msg, err, "%s:%u:%u: %s", e.file, e.line, e.column, e.text);
	return err ? msg_fail(msg, err, "%s: %s", src->name, err_str(err)) : 0;
}

int watch_compile(const char *file, bool bare, struct policy **out, char **text, struct msg *msg)
{
	struct includes inc = {.file = file};
	struct policy_source src = {.name = file, .include = include, .arg = &inc, .bare = bare};
	char *all = read_file(file, &src.len);
	int err;

	if (!all)
		return msg_fail(msg, ERR_NOENT, "cannot read the rules %s: %s", file,
				strerror(errno ? errno : EFBIG));
	src.text = all;
	if (text) {
		inc.flat = calloc(1, 1);
		inc.flat_room = 1;
		src.line = add_line;
	}
	err = compile(&src, out, msg);
	while (inc.n)
		free(inc.text[--inc.n]);
	free(all);
	if (!err && text && !inc.flat) {
		policy_free(*out);
		err = msg_fail(msg, ERR_NOMEM, "out of memory");
	}
	if (err || !text) {
		free(inc.flat);
		return err;
	}
	*text = inc.flat;
	return 0;
}

int watch_prepare(struct watch *w, const struct vm_def *def, struct msg *msg)
{
	redirects_init(&w->redirects);
	return def->policy ? watch_compile(def->policy, false, &w->first, &w->first_text, msg) : 0;
}

uint64_t watch_memory(const struct watch *w, uint64_t wanted)
{
	return w->first ? MIN(wanted, ALIGN_DOWN(policy_memory(w->first), MIB)) : wanted;
}

bool watch_device(struct watch *w, const char *kind, unsigned index)
{
	struct watch_denied d;

	snprintf(d.name, sizeof(d.name), "%s%u", kind, index);
	if (!w->first || policy_device(w->first, d.name, &d.line))
		return true;
	if (w->n_denied < WATCH_DENIED)
		w->denied[w->n_denied++] = d;
	return false;
}

/* What rules say of the VM as a whole is told once, not at each use. */
static void note_policy(struct watch *w, const struct policy *p)
{
	uint64_t memory = p ? policy_memory(p) : UINT64_MAX;
	int64_t offset = p ? policy_time_offset(p) : 0;
	unsigned rate = p ? policy_time_rate(p) : 100, weight = p ? policy_cpu_weight(p) : 100;
	unsigned percent = p ? policy_cpu_percent(p) : 100;

	if (offset || rate != 100)
		watch_note_rule(w,
				&(struct mon_event){.cls = MON_TIME,
						    .value = (uint64_t)offset,
						    .verdict = MON_REDIRECT,
						    .rule = policy_line(p, MON_TIME)},
				"the calendar is %" PRId64 " s ahead and goes at %u %%",
				offset / (int64_t)NS_PER_SEC, rate);
	if (percent < 100 || weight < 100)
		watch_note_rule(w,
				&(struct mon_event){.cls = MON_CPU,
						    .op = CPU_SHARE,
						    .value = percent,
						    .rule = policy_line(p, MON_CPU)},
				"at most %u %% of each CPU, weight %u %%", percent, weight);
	if (memory != UINT64_MAX)
		watch_note_rule(w,
				&(struct mon_event){.cls = MON_MEMORY,
						    .value = memory,
						    .rule = policy_line(p, MON_MEMORY)},
				"at most %" PRIu64 " MiB", memory / MIB);
}

/* The rules themselves, several lines a record: what later verdicts mean by a line. */
static void note_rules(struct watch *w)
{
	const char *s = w->policy_text ? w->policy_text : "";
	uint64_t line = 1;

	while (*s) {
		struct mon_event ev = {.cls = MON_LIFECYCLE, .op = LIFE_RULES, .value = line};
		size_t n = 0, next;

		do {
			next = strcspn(s + n, "\n");
			next += s[n + next] == '\n';
			if (n && n + next > RING_TEXT_MAX)
				break;
			n += next;
			line++;
		} while (s[n] && n < RING_TEXT_MAX);
		ev.data = s;
		ev.len = (uint32_t)MIN(n, (size_t)RING_TEXT_MAX);
		mon_core_note(&w->core, &ev);
		s += n;
	}
}

/* The host's scheduler gives a thread 1.25 times less for each step of its nice value. Threads that are made
 * from now on have it: vCPUs and the history's. */
static void set_weight(unsigned weight)
{
	int nice = 0;

	for (double w = 100; nice < 19 && w / 1.25 > weight - 0.5; w /= 1.25)
		nice++;
	if (nice && setpriority(PRIO_PROCESS, 0, MAX(getpriority(PRIO_PROCESS, 0), nice)))
		plat_log(LOG_WARN, "the VM's weight cannot be set: %s", strerror(errno));
}

static bool was_denied(const struct watch *w, const char *name)
{
	for (unsigned i = 0; i < w->n_denied; i++)
		if (!strcmp(w->denied[i].name, name))
			return true;
	return false;
}

static void plug(struct watch *w, const struct policy *p, enum watch_kind kind, unsigned i)
{
	static const char *const names[] = {"disk", "net", "rng"};
	char name[16];
	uint32_t line = 0;
	bool in, was = !(w->unplugged[kind] >> i & 1);

	snprintf(name, sizeof(name), "%s%u", names[kind], i);
	if (was_denied(w, name)) /* it has never been there */
		return;
	in = policy_device(p, name, &line);
	if (in == was)
		return;
	if (kind == KIND_NET)
		net_link(w->net[i], in);
	w->unplugged[kind] ^= BIT64(i);
	watch_note_rule(w,
			&(struct mon_event){.cls = MON_DEVICE,
					    .verdict = in ? MON_PROVIDE : MON_DENY,
					    .rule = line},
			"%s is %s", name, in ? "plugged in again" : "unplugged");
}

/* Cables are pulled here; what devices then ask for all the same is the policy's to refuse. */
static void plug_all(struct watch *w, const struct policy *p)
{
	for (unsigned i = 0; i < w->n_disks; i++)
		plug(w, p, KIND_DISK, i);
	for (unsigned i = 0; i < w->n_nets; i++)
		plug(w, p, KIND_NET, i);
	if (w->rng)
		plug(w, p, KIND_RNG, 0);
}

/* The one before the last is long unused: an operator has set two since. */
static void put_in_force(struct watch *w, struct policy *take_p, char *take_text)
{
	struct policy *old;

	policy_unplug(take_p);
	old = mon_core_set_policy(&w->core, take_p);
	plug_all(w, take_p);
	vm_set_cpu_limit(w->vm, policy_cpu_percent(take_p));
	vm_set_calendar(w->vm, policy_time_offset(take_p), policy_time_rate(take_p));
	note_policy(w, take_p);

	policy_free(w->retired);
	w->retired = old;
	free(w->policy_text);
	w->policy_text = take_text;
	note_rules(w);
}

int watch_policy_part(struct watch *w, const char *text, bool last, struct msg *msg)
{
	size_t n = strlen(text);
	struct policy_source src = {.name = "policy"};
	struct policy *p;
	char *more;
	int err;

	if (w->upload_len + n > WATCH_POLICY_MAX) {
		w->upload_len = 0;
		return msg_fail(msg, ERR_RANGE, "the rules are too long");
	}
	more = realloc(w->upload, w->upload_len + n + 1);
	if (!more)
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	w->upload = more;
	memcpy(more + w->upload_len, text, n + 1);
	w->upload_len += n;
	if (!last)
		return 0;
	src.text = more;
	src.len = w->upload_len;
	err = compile(&src, &p, msg);
	if (!err) {
		err = redirects_bind(&w->redirects, p, msg);
		if (err)
			policy_free(p);
	}
	w->upload = NULL;
	w->upload_len = 0;
	if (err) {
		free(more);
		return err;
	}
	put_in_force(w, p, more);
	return 0;
}

/* ---- what is recorded ----------------------------------------------------------------------------------- */

int watch_record(struct watch *w, const char *spec, struct msg *msg)
{
	static const char *const tiers[] = {"off", "always", "full", "lossless"};
	char *field;
	int err = 0;

	if (!w->history)
		return msg_fail(msg, ERR_INVAL, "this VM has no history");
	while (!err && (field = opt_field(&spec))) {
		char *eq = strchr(field, '=');
		unsigned tier = ARRAY_SIZE(tiers);
		int cls = -1;

		if (eq) {
			cls = mon_class_find(field, (size_t)(eq - field));
			for (tier = 0; tier < ARRAY_SIZE(tiers); tier++)
				if (!strcmp(eq + 1, tiers[tier]))
					break;
		}
		if (eq && cls < 0)
			err = msg_fail(
				msg, ERR_INVAL,
				"%s: no class is called that: cpu, port, mmio, msr, cpuid, irq, "
				"disk, net, console, entropy, …",
				field);
		else if (!eq || tier == ARRAY_SIZE(tiers))
			err = msg_fail(msg, ERR_INVAL,
				       "%s: expected CLASS=off, always, full or lossless", field);
		else
			mon_core_set_tier(&w->core, (enum mon_class)cls, (enum mon_tier)tier);
		free(field);
	}
	return err;
}

static void note(struct watch *w, const struct mon_event *ev, const char *fmt, va_list ap)
{
	char text[RING_TEXT_MAX + 1];
	struct mon_event all = *ev;

	vsnprintf(text, sizeof(text), fmt, ap);
	all.data = text;
	all.len = (uint32_t)strlen(text);
	mon_core_note(&w->core, &all);
}

void watch_note(struct watch *w, enum mon_class cls, uint8_t op, int result, const char *fmt, ...)
{
	const struct mon_event ev = {.cls = (uint8_t)cls, .op = op, .result = (int8_t)result};
	va_list ap;

	va_start(ap, fmt);
	note(w, &ev, fmt, ap);
	va_end(ap);
}

void watch_note_rule(struct watch *w, const struct mon_event *ev, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(w, ev, fmt, ap);
	va_end(ap);
}

/* ---- the console ----------------------------------------------------------------------------------------- */

/* Lock held. A character that is not whole yet waits for its end. */
static void tap_flush(struct watch_tap *t)
{
	size_t rest = str_utf8_rest(t->buf, t->n), n = t->n - rest;

	if (n)
		mon_core_note(t->core, &(struct mon_event){.cls = MON_CONSOLE,
							   .op = CONSOLE_OUT,
							   .value = n,
							   .data = t->buf,
							   .len = (uint32_t)n});
	memmove(t->buf, t->buf + n, rest);
	t->n = rest;
}

/* Lines are kept whole where they fit. */
static void tap_write(struct chr *c, const void *buf, size_t len)
{
	struct watch_tap *t = container_of(c, struct watch_tap, chr);
	const char *p = buf;

	plat_mutex_lock(&t->lock);
	for (size_t i = 0; i < len; i++) {
		t->buf[t->n++] = p[i];
		if (t->n == sizeof(t->buf) || p[i] == '\n')
			tap_flush(t);
	}
	plat_mutex_unlock(&t->lock);
}

static void tap_rx_ready(struct chr *c)
{
}

static void tap_close(struct chr *c)
{
}

static const struct chr_ops tap_ops = {"history", tap_write, tap_rx_ready, tap_close};

static void tick(void *arg)
{
	struct watch *w = arg;
	struct watch_tap *t = &w->tap;

	plat_mutex_lock(&t->lock);
	tap_flush(t);
	plat_mutex_unlock(&t->lock);
	pictures_tick(&w->pictures, w->history);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int open_history(struct watch *w, struct vm *vm, const struct vm_def *def, struct msg *msg)
{
	struct history_config cfg = {
		.path = w->path,
		.name = vm->name,
		.engine = vm->engine->name,
		.cpu = x86_model_name(vm->model),
		.version = "0.1",
		.cpus = vm->n_vcpus,
		.memory = vm->ram.size,
		.tsc_hz = vm->tsc_hz,
		.later = !def->history,
		.tick = tick,
		.arg = w,
	};
	char text[300] = "";
	int err;

	if (def->history)
		err = snprintf(w->path, sizeof(w->path), "%s", def->history) < 0 ? ERR_INVAL : 0;
	else
		err = watch_path(def->name, true, w->path, sizeof(w->path), msg);
	if (!err) {
		err = history_open(&cfg, &w->core, &w->history, text, sizeof(text));
		if (err)
			msg_fail(msg, err, "the history %s: %s; --history none goes on without",
				 w->path, text);
	}
	if (!err || def->history)
		return err;
	/* Nobody asked for it: a VM does not fail for want of it. */
	plat_log(LOG_WARN, "no history is kept: %s", msg->text);
	msg->text[0] = 0;
	return 0;
}

void watch_places(struct watch *w)
{
	mon_core_scale(&w->core, w->vm->tsc);
	for (unsigned i = 0; i < w->vm->n_vcpus; i++)
		mon_core_place(&w->core, i, &w->vm->vcpu[i]->state->rip,
			       &w->vm->vcpu[i]->state->cr3, &w->vm->vcpu[i]->state->tsc_offset);
}

int watch_open(struct watch *w, struct vm *vm, const struct vm_def *def, struct chr *mux,
	       struct display *screen, struct plat_loop *loop, struct msg *msg)
{
	bool wanted = !def->history || strcmp(def->history, "none");
	int err = w->first ? redirects_open(&w->redirects, loop, w->first, msg) : 0;

	if (err)
		return err;
	if (mon_core_init(&w->core, &vm->mon, vm->n_vcpus, wanted))
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	w->vm = vm;
	w->core.also = recorder_add;
	w->core.also_arg = &w->rec;
	watch_places(w);
	if (w->first) {
		set_weight(policy_cpu_weight(w->first));
		put_in_force(w, w->first, w->first_text);
	}
	w->first = NULL;
	w->first_text = NULL;
	w->tap.chr.ops = &tap_ops;
	w->tap.core = &w->core;
	w->pictures.display = screen;
	plat_mutex_init(&w->tap.lock, RANK_LEAF);
	if (wanted)
		err = open_history(w, vm, def, msg);
	w->core.draining = w->history;
	if (!err && w->history && mux && !chr_mux_attach(mux, &w->tap.chr, false))
		w->mux = mux;
	return err;
}

void watch_cables(struct watch *w)
{
	for (unsigned i = 0; i < w->n_nets; i++)
		net_link(w->net[i], !(w->unplugged[KIND_NET] >> i & 1));
}

void watch_devices(struct watch *w, struct net *const *net, unsigned n_nets, unsigned n_disks,
		   bool rng)
{
	w->rng = rng;
	memcpy(w->net, net, n_nets * sizeof(*net));
	w->n_nets = n_nets;
	w->n_disks = n_disks;
}

int watch_start(struct watch *w, struct msg *msg)
{
	watch_cables(w);
	for (unsigned i = 0; i < w->n_denied; i++)
		watch_note_rule(w,
				&(struct mon_event){.cls = MON_DEVICE,
						    .verdict = MON_DENY,
						    .rule = w->denied[i].line},
				"%s is not there", w->denied[i].name);
	if (w->history && history_start(w->history))
		return msg_fail(msg, ERR_NOMEM, "cannot start a thread");
	return 0;
}

void watch_detach(struct watch *w)
{
	if (w->mux)
		chr_mux_detach(w->mux, &w->tap.chr);
	w->mux = NULL;
	mon_core_detach(&w->core);
	w->vm = NULL;
}

void watch_close(struct watch *w)
{
	history_close(w->history);
	w->history = NULL;
	pictures_fini(&w->pictures);
	policy_free(mon_core_set_policy(&w->core, NULL));
	policy_free(w->retired);
	policy_free(w->first);
	free(w->first_text);
	redirects_close(&w->redirects);
	mon_core_fini(&w->core);
	free(w->policy_text);
	free(w->upload);
	w->retired = NULL;
	w->policy_text = w->upload = NULL;
}
