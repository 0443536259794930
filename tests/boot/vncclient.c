/* SPDX-License-Identifier: ISC */
/* vncclient.c: a viewer without a screen, for tests and measurements, on libvncclient.
 *
 *	vncclient [-p PASSWORD] [-c CERT] [-e ENCODINGS] HOST PORT COMMAND…   (HOST a socket's name: PORT 0)
 *	-c: with TLS only, to a server with that certificate
 *	type TEXT        keysyms as a US keyboard makes them
 *	key SYM          a keysym in hex, pressed and released; +SYM and -SYM one of the two
 *	pointer X Y M    moves there, with buttons M
 *	size W H         waits until the screen has that size
 *	pixel X Y RGB    waits until that dot has that colour (hex)
 *	ppm FILE         writes the picture
 *	cut TEXT         puts text on the clipboard
 *	watch MS         follows the screen; says how many updates and bytes came, and the time
 *	stall MS         reads nothing
 * Exit status: 0 done, 1 not within 20 s, or the server hung up. */
#include <rfb/rfbclient.h>

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static const char *password = "", *cert;
static unsigned updates, resizes;
static uint64_t dots;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static char *give_password(rfbClient *c)
{
	return strdup(password);
}

static rfbCredential *give_cert(rfbClient *c, int type)
{
	rfbCredential *cred = calloc(1, sizeof(*cred));

	if (type != rfbCredentialTypeX509 || !cred || !cert) {
		free(cred);
		return NULL;
	}
	cred->x509Credential.x509CACertFile = strdup(cert);
	return cred;
}

static rfbBool resized(rfbClient *c)
{
	resizes++;
	free(c->frameBuffer);
	c->frameBuffer = calloc((size_t)c->width * (size_t)c->height, 4);
	return c->frameBuffer != NULL;
}

static void got_part(rfbClient *c, int x, int y, int w, int h)
{
	dots += (uint64_t)w * (uint64_t)h;
}

static void finished(rfbClient *c)
{
	updates++;
}

static void die(const char *what)
{
	fprintf(stderr, "vncclient: %s\n", what);
	exit(1);
}

/* Handles what comes within ms, or until done() says yes. */
static bool pump(rfbClient *c, double ms, bool (*done)(rfbClient *c, char **arg), char **arg)
{
	double end = now_ms() + ms;

	while (!done || !done(c, arg)) {
		double left = end - now_ms();
		int n;

		if (left <= 0)
			return false;
		n = WaitForMessage(c, (unsigned)(left < 50 ? left * 1000 : 50000));
		if (n < 0 || (n > 0 && !HandleRFBServerMessage(c)))
			die("the server has hung up");
	}
	return true;
}

static void key(rfbClient *c, uint32_t sym, int what)
{
	if (what >= 0)
		SendKeyEvent(c, sym, TRUE);
	pump(c, 15, NULL, NULL);
	if (what <= 0)
		SendKeyEvent(c, sym, FALSE);
	pump(c, 15, NULL, NULL);
}

static void type(rfbClient *c, const char *text)
{
	for (; *text; text++) {
		bool shift = strchr("~!@#$%^&*()_+{}|:\"<>?ABCDEFGHIJKLMNOPQRSTUVWXYZ", *text);

		if (shift)
			SendKeyEvent(c, XK_Shift_L, TRUE);
		key(c, *text == '\n' ? XK_Return : (unsigned char)*text, 0);
		if (shift)
			SendKeyEvent(c, XK_Shift_L, FALSE);
	}
}

static uint32_t dot(const rfbClient *c, int x, int y)
{
	const uint32_t *p = (const uint32_t *)(void *)c->frameBuffer;

	return x < c->width && y < c->height ? p[y * c->width + x] & 0xffffff : ~0u;
}

static bool is_size(rfbClient *c, char **arg)
{
	return c->width == atoi(arg[0]) && c->height == atoi(arg[1]);
}

static bool is_pixel(rfbClient *c, char **arg)
{
	return dot(c, atoi(arg[0]), atoi(arg[1])) == strtoul(arg[2], NULL, 16);
}

static void ppm(rfbClient *c, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die("cannot write the picture");
	fprintf(f, "P6 %d %d 255\n", c->width, c->height);
	for (int y = 0; y < c->height; y++)
		for (int x = 0; x < c->width; x++) {
			uint32_t v = dot(c, x, y);

			fprintf(f, "%c%c%c", v >> 16 & 255, v >> 8 & 255, v & 255);
		}
	if (fclose(f))
		die("cannot write the picture");
}

static void watch(rfbClient *c, double ms)
{
	double start = now_ms();

	updates = 0;
	dots = 0;
	pump(c, ms, NULL, NULL);
	printf("%u updates, %llu dots, %.0f ms\n", updates, (unsigned long long)dots,
	       now_ms() - start);
}

static rfbClient *join(const char *host, int port, const char *encodings)
{
	rfbClient *c = rfbGetClient(8, 3, 4);

	rfbEnableClientLogging = FALSE;
	c->format.redShift = 16;
	c->format.greenShift = 8;
	c->format.blueShift = 0;
	c->appData.encodingsString = encodings;
	c->appData.useRemoteCursor = FALSE;
	c->canHandleNewFBSize = TRUE;
	c->GetPassword = give_password;
	c->GetCredential = give_cert;
	if (cert)
		SetClientAuthSchemes(c, (const uint32_t[]){rfbVeNCrypt}, 1);
	c->MallocFrameBuffer = resized;
	c->GotFrameBufferUpdate = got_part;
	c->FinishedFrameBufferUpdate = finished;
	c->serverHost = strdup(host);
	c->serverPort = port;
	if (!rfbInitClient(c, NULL, NULL))
		die("cannot connect, or was refused");
	return c;
}

static int run(rfbClient *c, int left, char **arg)
{
	static const struct {
		const char *name;
		int args;
	} commands[] = {{"type", 1}, {"key", 1},   {"pointer", 3}, {"size", 2}, {"pixel", 3},
			{"ppm", 1},  {"watch", 1}, {"cut", 1},     {"stall", 1}};
	unsigned i = 0;

	while (i < 9 && strcmp(arg[0], commands[i].name))
		i++;
	if (i == 9 || left < commands[i].args + 1)
		die("a command is unknown or lacks something");
	switch (i) {
	case 0:
		type(c, arg[1]);
		break;
	case 1:
		key(c, (uint32_t)strtoul(arg[1] + strspn(arg[1], "+-"), NULL, 16),
		    arg[1][0] == '+'   ? 1
		    : arg[1][0] == '-' ? -1
				       : 0);
		break;
	case 2:
		SendPointerEvent(c, atoi(arg[1]), atoi(arg[2]), atoi(arg[3]));
		pump(c, 30, NULL, NULL);
		break;
	case 3:
	case 4:
		if (!pump(c, PATIENCE_MS, i == 3 ? is_size : is_pixel, arg + 1))
			die(arg[0]);
		break;
	case 5:
		ppm(c, arg[1]);
		break;
	case 6:
		watch(c, atof(arg[1]));
		break;
	case 7:
		SendClientCutText(c, arg[1], (int)strlen(arg[1]));
		pump(c, 30, NULL, NULL);
		break;
	default:
		usleep((useconds_t)atoi(arg[1]) * 1000);
	}
	return commands[i].args + 1;
}

/* Closed with something unread, the connection would be reset, and what was typed last lost. */
static void leave(rfbClient *c)
{
	struct pollfd p = {.fd = c->sock, .events = POLLIN};
	char rest[65536];
	bool more = true;

	shutdown(c->sock, SHUT_WR);
	while (more && poll(&p, 1, PATIENCE_MS) > 0)
		more = read(c->sock, rest, sizeof(rest)) > 0;
	free(c->frameBuffer);
	c->frameBuffer = NULL;
	rfbClientCleanup(c);
}

int main(int argc, char **argv)
{
	const char *encodings = "raw";
	rfbClient *c;
	int opt, n;

	while ((opt = getopt(argc, argv, "+p:c:e:")) != -1) {
		if (opt == 'p')
			password = optarg;
		else if (opt == 'c')
			cert = optarg;
		else if (opt == 'e')
			encodings = optarg;
		else
			return 1;
	}
	if (argc - optind < 2)
		die("give HOST PORT COMMAND…");
	c = join(argv[optind], atoi(argv[optind + 1]), encodings);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (n = optind + 2; n < argc;)
		n += run(c, argc - n, argv + n);
	leave(c);
	return 0;
}
