/* SPDX-License-Identifier: ISC */
/* vnc_viewer.c: one viewer: a thread that reads what its client sends and sends what has changed.
 *
 * The library's screen here has a copy of the pixels. When the client has asked for an update, the
 * thread has the display drawn, copies the rows that have changed since its last look, and leaves the
 * rest to the library. While nothing changes it looks ever more seldom, ten times a second at last; what
 * the client sends wakes it at once. Nothing of the VM is locked while the library sends or receives.
 *
 * Keys come as X keysyms and become those of a US keyboard. Where the client's own layout has a
 * character with Shift and that keyboard without, or the other way round, Shift is put right. Ctrl-Alt-V types what the
 * client had last on its clipboard. */
#include <rfb/rfb.h>
#include <rfb/rfbregion.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ui/keys.h"
#include "ui/vnc_impl.h"

/* Beyond so many, nothing more is pressed; there is always room to let go all keys and buttons that viewers hold. */
#define KEYS_WAITING (TYPIST_MAX - 2 * VNC_VIEWERS * (KEY_COUNT + 3))
#define NS_PER_MS    UINT64_C(1000000)
#define FRAME_NS     (15 * NS_PER_MS)   /* between looks while something moves: 60 a second */
#define IDLE_NS      (100 * NS_PER_MS)  /* … and when nothing has for a while */
#define HELLO_NS     (2000 * NS_PER_MS) /* for a client's first bytes */
#define WAIT_MS      2000 /* for the rest of a message, and for a client that does not read */

#define FIRST_W     640
#define FIRST_H     480
#define PIXEL_BYTES (DISPLAY_MAX_W * DISPLAY_MAX_H * sizeof(uint32_t))

#define CLIP_MAX 2048 /* characters of the clipboard; the rest is not typed */

#define WHEEL_UP   BIT(3)
#define WHEEL_DOWN BIT(4)

/* What is used of the library. */
/* clang-format off */
#define VNC_LIB(F)           \
	F(rfbGetScreen)          \
	F(rfbScreenCleanup)      \
	F(rfbNewFramebuffer)     \
	F(rfbMarkRectAsModified) \
	F(rfbNewClient)          \
	F(rfbClientConnectionGone) \
	F(rfbProcessEvents)      \
	F(rfbLogEnable)          \
	F(rfbCheckPasswordByList) \
	F(sraRgnEmpty)
/* clang-format on */
struct vnc_lib {
#define F(name) __typeof__(&name) name;
	VNC_LIB(F)
#undef F
};

struct vnc_viewer {
	struct vnc *v;
	const struct vnc_lib *lib;
	rfbScreenInfoPtr screen;
	int fd;                 /* the client's, without TLS the library's, which closes it */
	int hang_up;            /* a copy, to shut it down */
	_Atomic int plain;      /* with TLS a copy of the library's; -1 */
	struct plat_timer late; /* how long a client may take to say what it is */
	_Atomic bool joined;
	struct plat_thread *thread; /* NULL: nobody is there */
	_Atomic bool ended;

	/* the thread's */
	rfbClientPtr client; /* NULL: gone */
	uint32_t *pixels;
	unsigned width, height;
	uint64_t seen; /* of v->change */
	bool active;   /* the client has sent something */
	uint8_t down[(KEY_COUNT + 7) / 8];
	char clip[CLIP_MAX];
	size_t clip_len;
	int x, y;
	unsigned mask;    /* buttons as the client says it */
	unsigned buttons; /* as they were handed on */
};

/* ---- picture --------------------------------------------------------------------------------------------- */

static void set_format(rfbScreenInfoPtr s)
{
	s->serverFormat.depth = 24;
	s->serverFormat.redShift = 16;
	s->serverFormat.greenShift = 8;
	s->serverFormat.blueShift = 0;
}

static void set_size(struct vnc_viewer *w, unsigned width, unsigned height)
{
	w->width = width;
	w->height = height;
	w->lib->rfbNewFramebuffer(w->screen, (char *)w->pixels, (int)width, (int)height, 8, 3, 4);
	set_format(w->screen); /* which that has put back */
	if (w->client)
		w->screen->setTranslateFunction(w->client);
}

/* Display locked. */
static void note_changes(struct vnc *v, struct display *d)
{
	bool any = d->resized;

	for (unsigned y = 0; y < d->height; y++) {
		if (d->row_dirty[y] || d->resized) {
			v->row_change[y] = v->change + 1;
			any = true;
		}
	}
	if (any)
		v->change++;
	display_take(d);
}

/* Display locked: the library's screen takes another size. */
static void resize(struct vnc_viewer *w, const struct display *d)
{
	memcpy(w->pixels, d->pixels, (size_t)d->width * d->height * sizeof(*d->pixels));
	set_size(w, d->width, d->height);
}

/* Display locked: rows that have changed since the last look. */
static bool copy_rows(struct vnc_viewer *w, const struct display *d)
{
	size_t row = d->width * sizeof(*d->pixels);
	unsigned y = 0, from;
	bool any = false;

	while (y < d->height) {
		if (w->v->row_change[y] <= w->seen) {
			y++;
			continue;
		}
		for (from = y; y < d->height && w->v->row_change[y] > w->seen; y++)
			;
		memcpy(w->pixels + (size_t)from * d->width, d->pixels + (size_t)from * d->width,
		       row * (y - from));
		if (w->client)
			w->lib->rfbMarkRectAsModified(w->screen, 0, (int)from, (int)d->width,
						      (int)y);
		any = true;
	}
	return any;
}

/* Brings the copy up to date. False: nothing has changed. */
static bool look(struct vnc_viewer *w)
{
	struct display *d = w->v->display;
	bool any = true;

	if (!display_begin(d))
		return false;
	note_changes(w->v, d);
	if (d->width != w->width || d->height != w->height)
		resize(w, d);
	else
		any = copy_rows(w, d);
	w->seen = w->v->change;
	display_done(d);
	return any;
}

/* ---- keys ------------------------------------------------------------------------------------------------- */

static bool holds(const struct vnc_viewer *w, unsigned key)
{
	return w->down[key / 8] >> key % 8 & 1;
}

/* Through the typist: a viewer that pastes, or a guest that gets no time, would lose keys. */
static void press(struct vnc_viewer *w, unsigned key, bool down)
{
	struct typist *typist = w->v->typist;

	if (holds(w, key) == down || (down && typist_left(typist) >= KEYS_WAITING))
		return;
	w->down[key / 8] ^= (uint8_t)(1u << key % 8);
	if (typist_add(typist, &(struct typist_event){TYPE_KEY, (int32_t)key, down, 0}, 1))
		plat_log(LOG_WARN, "a viewer's key was lost: too many wait");
}

static void release_keys(struct vnc_viewer *w)
{
	for (unsigned key = 0; key < KEY_COUNT; key++)
		if (holds(w, key))
			press(w, key, false);
}

/* As if it were typed, so that any guest takes it; without the keys that have asked for it. */
static void paste(struct vnc_viewer *w)
{
	release_keys(w);
	for (size_t i = 0; i < w->clip_len; i++) {
		bool shift = false;
		unsigned key = keys_of_char((unsigned char)w->clip[i], &shift);

		if (!key)
			continue;
		if (shift)
			press(w, KEY_LSHIFT, true);
		press(w, key, true);
		press(w, key, false);
		if (shift)
			press(w, KEY_LSHIFT, false);
	}
}

static bool wants_paste(const struct vnc_viewer *w, rfbKeySym sym)
{
	return (sym == 'v' || sym == 'V') && (holds(w, KEY_LCTRL) || holds(w, KEY_RCTRL)) &&
	       (holds(w, KEY_LALT) || holds(w, KEY_RALT));
}

static void on_key(rfbBool down, rfbKeySym sym, rfbClientPtr cl)
{
	struct vnc_viewer *w = cl->screen->screenData;
	int shift;
	unsigned key = keys_of_keysym(sym, &shift);
	bool left = holds(w, KEY_LSHIFT), right = holds(w, KEY_RSHIFT);

	w->active = true;
	if (!key || (down && holds(w, key))) /* the guest's keyboard repeats by itself */
		return;
	if (down && wants_paste(w, sym)) {
		paste(w);
		return;
	}
	if (!down || shift < 0 || shift == (left || right)) {
		press(w, key, down);
		return;
	}
	if (shift) {
		press(w, KEY_LSHIFT, true);
		press(w, key, true);
		press(w, KEY_LSHIFT, false);
		return;
	}
	if (left)
		press(w, KEY_LSHIFT, false);
	if (right)
		press(w, KEY_RSHIFT, false);
	press(w, key, true);
	if (left)
		press(w, KEY_LSHIFT, true);
	if (right)
		press(w, KEY_RSHIFT, true);
}

static void on_release_all(rfbClientPtr cl)
{
	release_keys(cl->screen->screenData);
}

/* ---- pointer ----------------------------------------------------------------------------------------------- */

static unsigned buttons_of(unsigned mask)
{
	return (mask & 1 ? BUTTON_LEFT : 0) | (mask & 2 ? BUTTON_MIDDLE : 0) |
	       (mask & 4 ? BUTTON_RIGHT : 0);
}

/* To where that is for a tablet; a mouse is moved as far. Where too much waits, buttons are only let go. */
static void point(struct vnc_viewer *w, int x, int y, int dz, unsigned buttons)
{
	struct typist *typist = w->v->typist;
	int right = MAX((int)w->width - 1, 1), bottom = MAX((int)w->height - 1, 1);
	struct typist_event ev = {.kind = TYPE_AIM,
				  .a = (int32_t)((int64_t)x * INPUT_ABS_MAX / right),
				  .b = (int32_t)((int64_t)y * INPUT_ABS_MAX / bottom),
				  .dx = x - w->x,
				  .dy = y - w->y,
				  .dz = dz};

	if (typist_left(typist) >= KEYS_WAITING) {
		buttons &= w->buttons;
		if (buttons == w->buttons)
			return;
	}
	ev.buttons = (uint8_t)buttons;
	if (typist_aim(typist, &ev)) {
		plat_log(LOG_WARN, "a viewer's click was lost: too much waits");
		return;
	}
	w->buttons = buttons;
	w->x = x;
	w->y = y;
}

static void on_pointer(int mask, int x, int y, rfbClientPtr cl)
{
	struct vnc_viewer *w = cl->screen->screenData;
	unsigned pressed = (unsigned)mask & ~w->mask, b = buttons_of((unsigned)mask);
	int dz = (pressed & WHEEL_DOWN ? 1 : 0) - (pressed & WHEEL_UP ? 1 : 0);

	w->active = true;
	w->mask = (unsigned)mask;
	point(w, MAX(0, MIN(x, (int)w->width - 1)), MAX(0, MIN(y, (int)w->height - 1)), dz, b);
}

/* ---- connection ---------------------------------------------------------------------------------------------- */

static void on_gone(rfbClientPtr cl)
{
	struct vnc_viewer *w = cl->screen->screenData;

	w->client = NULL;
}

/* The clipboard, in Latin-1. */
static void on_text(char *text, int len, rfbClientPtr cl)
{
	struct vnc_viewer *w = cl->screen->screenData;

	w->active = true;
	w->clip_len = len > 0 ? MIN((size_t)len, sizeof(w->clip)) : 0;
	memcpy(w->clip, text, w->clip_len);
}

static rfbScreenInfoPtr make_screen(struct vnc_viewer *w)
{
	rfbScreenInfoPtr s = w->lib->rfbGetScreen(NULL, NULL, FIRST_W, FIRST_H, 8, 3, 4);

	if (!s)
		return NULL;
	s->screenData = w;
	s->desktopName = w->v->title;
	s->frameBuffer = (char *)w->pixels;
	s->cursor = NULL; /* the guest draws its own */
	s->alwaysShared = TRUE;
	s->maxClientWait = WAIT_MS;
	s->deferUpdateTime = 0;
	s->deferPtrUpdateTime = 0;
	s->kbdAddEvent = on_key;
	s->kbdReleaseAllKeys = on_release_all;
	s->ptrAddEvent = on_pointer;
	s->setXCutText = on_text;
	if (w->v->passwords[0]) {
		s->authPasswdData = (void *)w->v->passwords;
		s->passwordCheck = w->lib->rfbCheckPasswordByList;
	}
	return s;
}

static bool asks(const struct vnc_viewer *w)
{
	return w->client && w->client->state == RFB_NORMAL &&
	       !w->lib->sraRgnEmpty(w->client->requestedRegion);
}

static void serve(struct vnc_viewer *w)
{
	uint64_t interval = FRAME_NS, last = 0;

	while (w->client && !atomic_load(&w->v->stop)) {
		uint64_t now = plat_now(), wait = IDLE_NS;

		if (asks(w))
			wait = last + interval > now ? last + interval - now : 0;
		w->active = false;
		w->lib->rfbProcessEvents(w->screen, (long)(wait / 1000));
		if (w->active)
			interval = FRAME_NS;
		now = plat_now();
		if (!asks(w) || now < last + interval)
			continue;
		last = now;
		if (look(w)) {
			interval = FRAME_NS;
			w->lib->rfbProcessEvents(w->screen, 0);
		} else {
			interval = MIN(interval + interval / 4, IDLE_NS);
		}
	}
}

/* What the library is to speak with; -1: nothing. */
static int take_client(struct vnc_viewer *w, struct vnc_relay **relay)
{
	int plain, copy;

	if (!w->v->tls)
		return w->fd;
	if (vnc_tls_accept(w->v->tls, w->fd, relay, &plain))
		return -1;
	copy = fcntl(plain, F_DUPFD_CLOEXEC, 0);
	if (copy < 0) {
		close(plain);
		return -1;
	}
	atomic_store(&w->plain, copy);
	return plain;
}

static void end_relay(struct vnc_viewer *w, struct vnc_relay *relay)
{
	if (relay) {
		shutdown(atomic_load(&w->plain), SHUT_RDWR);
		vnc_relay_end(relay);
	}
	if (w->v->tls)
		close(w->fd);
}

static void viewer_thread(void *arg)
{
	struct vnc_viewer *w = arg;
	struct vnc_relay *relay = NULL;
	int fd;

	set_size(w, FIRST_W, FIRST_H); /* until there is a picture */
	look(w);
	fd = take_client(w, &relay);
	if (fd >= 0)
		w->client = w->lib->rfbNewClient(w->screen, fd); /* owns fd, also where it fails */
	atomic_store(&w->joined, true);
	if (w->client) {
		w->client->clientGoneHook = on_gone;
		serve(w);
	}
	if (w->client)
		w->lib->rfbClientConnectionGone(w->client);
	release_keys(w);
	if (w->buttons)
		point(w, w->x, w->y, 0, 0);
	plat_pages_discard(w->pixels, PIXEL_BYTES);
	end_relay(w, relay);
	/* As long as there is a copy, closing tells the client nothing. */
	shutdown(w->hang_up, SHUT_RDWR);
	atomic_store(&w->ended, true);
}

bool vnc_viewer_free(const struct vnc_viewer *w)
{
	return !w->thread || atomic_load(&w->ended);
}

/* Also what has come and nobody has read: the library runs in circles while a client's first 1 to 3 bytes
 * are followed by no more, be it because the connection has ended. */
static void shut(int fd)
{
	uint8_t rest[256];

	shutdown(fd, SHUT_RDWR);
	while (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
}

static void hang_up(struct vnc_viewer *w)
{
	int plain = atomic_load(&w->plain);

	shut(w->hang_up);
	if (plain >= 0)
		shut(plain);
}

static void on_late(void *arg)
{
	struct vnc_viewer *w = arg;

	if (atomic_load(&w->joined))
		return;
	hang_up(w);
	plat_timer_arm(&w->late, plat_now() + FRAME_NS);
}

void vnc_viewer_end(struct vnc_viewer *w)
{
	if (!w->thread)
		return;
	for (hang_up(w); !atomic_load(&w->joined); hang_up(w))
		usleep(1000);
	plat_timer_cancel(&w->late);
	plat_thread_join(w->thread);
	close(w->hang_up);
	if (w->plain >= 0)
		close(w->plain);
	w->thread = NULL;
}

int vnc_viewer_start(struct vnc_viewer *w, int fd)
{
	int err;

	w->fd = fd;
	w->seen = 0;
	w->mask = w->buttons = 0;
	w->clip_len = 0;
	w->x = w->y = 0;
	w->plain = -1;
	w->ended = w->joined = false;
	w->hang_up = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = w->hang_up < 0 ? err_here(ERR_IO)
			     : plat_thread_create("viewer", viewer_thread, w, &w->thread);
	if (err) {
		w->thread = NULL;
		close(fd);
		if (w->hang_up >= 0)
			close(w->hang_up);
	} else {
		plat_timer_arm(&w->late, plat_now() + HELLO_NS + (w->v->tls ? VNC_TLS_NS : 0));
	}
	return err;
}

void vnc_viewer_destroy(struct vnc_viewer *w)
{
	if (w->screen)
		w->lib->rfbScreenCleanup(w->screen);
	if (w->pixels)
		plat_pages_free(w->pixels, PIXEL_BYTES);
	plat_free(w);
}

int vnc_viewer_create(struct vnc *v, struct vnc_viewer **out)
{
	struct vnc_viewer *w = plat_alloc(sizeof(*w));

	if (!w)
		return err_here(ERR_NOMEM);
	w->v = v;
	w->lib = v->lib;
	w->plain = -1;
	plat_timer_init(&w->late, v->loop, on_late, w);
	w->pixels = plat_pages_alloc(PIXEL_BYTES);
	if (w->pixels)
		w->screen = make_screen(w);
	if (!w->screen) {
		vnc_viewer_destroy(w);
		return err_here(ERR_NOMEM);
	}
	*out = w;
	return 0;
}

int vnc_lib_load(struct vnc *v, char *errbuf, size_t size)
{
	struct vnc_lib *lib = plat_alloc(sizeof(*lib));
	void *so = dlopen("libvncserver.so.1", RTLD_NOW | RTLD_LOCAL);
	bool all = lib && so;

#define F(name)  \
	if (all) \
		all = (lib->name = (__typeof__(&name))dlsym(so, #name)) != NULL;
	VNC_LIB(F)
#undef F
	if (!all) {
		str_format(errbuf, size, "install the package libvncserver1: %s",
			   so ? "the one that is there is another version" : dlerror());
		plat_free(lib);
		return err_here(ERR_NOSYS);
	}
	lib->rfbLogEnable(FALSE);
	v->lib = lib;
	return 0;
}
