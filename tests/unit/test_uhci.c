/* SPDX-License-Identifier: ISC */
/* test_uhci.c: the USB controller and its tablet on plat/fake: enumeration as drivers do it, queues and
 * frames, errors of every kind, an idle bus that costs little, a sleeping one that is woken, nonsense. */
#include "tests/unit/pci_rig.h"

#include "dev/usb/tablet.h"
#include "dev/usb/uhci.h"
#include "dev/usb/usb.h"
#include "ui/input.h"
#include "vm/stream.h"

#define BAR    RIG_BAR_IO
#define LIST   0x10000u
#define QH     0x20000u
#define QH2    0x20020u
#define TD     0x21000u
#define DATA   0x30000u
#define END    1u
#define MS     (NS_PER_SEC / 1000)
#define ACTIVE 0x00800000u
#define IOC    0x01000000u
#define ERR3   0x18000000u
#define SPD    0x20000000u
#define IN     0x69u
#define OUT    0xe1u
#define SETUP  0x2du

static struct uhci *uhci;
static struct input people;

static uint32_t in(unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&vm->pio, 0, BAR + reg, size);
}

static void out(unsigned reg, unsigned size, uint32_t v)
{
	bus_write(&vm->pio, 0, BAR + reg, size, v);
	assert_int_equal(fake_locks_held(), 0);
}

static uint32_t word(uint32_t at)
{
	uint32_t v;

	memcpy(&v, ram + at, 4);
	return v;
}

static void put(uint32_t at, uint32_t v)
{
	memcpy(ram + at, &v, 4);
}

static void create(void)
{
	struct uhci_wiring w = {.slot = 1, .func = 2};

	rig_pci();
	input_init(&people);
	w.host = host;
	assert_int_equal(usb_tablet_create(&people, &w.take_port[0]), 0);
	assert_int_equal(uhci_create(vm, &w, &uhci), 0);
	pci_cfg_write(host, 10, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MASTER);
}

/* Running, all frames lead to one QH, its queue is empty. */
static void start(void)
{
	create();
	out(8, 4, LIST);
	for (unsigned i = 0; i < 1024; i++)
		put(LIST + 4 * i, QH | 2);
	put(QH, END);
	put(QH + 4, END);
	out(16, 2, 0x200);
	out(16, 2, 0);
	out(16, 2, 4 | 2); /* enabled, the change of connection acknowledged */
	out(4, 2, 0xf);
	out(0, 2, 0xc1);
}

/* The n-th TD; the one behind it follows at once. */
static uint32_t td(unsigned n, unsigned pid, unsigned address, unsigned ep, unsigned len,
		   uint32_t flags, bool last)
{
	uint32_t at = TD + 32 * n;

	put(at, last ? END : (at + 32) | 4);
	put(at + 4, ACTIVE | flags);
	put(at + 8, pid | address << 8 | ep << 15 | (len - 1) << 21);
	put(at + 12, DATA + 64 * n);
	return at;
}

static void go(uint32_t first)
{
	put(QH + 4, first);
	fake_advance(20 * MS);
	fake_advance(1 * MS);
}

/* A control transfer in packets of 8; gives the bytes that came, or -1: it stalled. */
static int control(unsigned address, uint8_t type, uint8_t request, unsigned value, unsigned index,
		   unsigned len, uint8_t *to)
{
	const uint8_t s[8] = {type,           request,
			      (uint8_t)value, (uint8_t)(value >> 8),
			      (uint8_t)index, (uint8_t)(index >> 8),
			      (uint8_t)len,   (uint8_t)(len >> 8)};
	unsigned n = 0, packets = type & 0x80 ? (len + 7) / 8 : 0, got = 0;

	memcpy(ram + DATA, s, 8);
	td(n++, SETUP, address, 0, 8, ERR3, packets == 0);
	for (unsigned i = 0; i < packets; i++, n++)
		td(n, IN, address, 0, MIN(8u, len - 8 * i), ERR3 | SPD, i + 1 == packets);
	go(TD);
	if (word(TD + 4) & ACTIVE)
		return -1;
	for (unsigned i = 1; i < n; i++) {
		uint32_t ctrl = word(TD + 32 * i + 4);
		unsigned bytes = (ctrl + 1) & 0x7ff;

		if (ctrl & 0x400000)
			return -1;
		if (ctrl & ACTIVE)
			break;
		if (to)
			memcpy(to + got, ram + DATA + 64 * i, bytes);
		got += bytes;
	}
	td(0, packets ? OUT : IN, address, 0, 0, ERR3 | IOC, true);
	go(TD);
	return (word(TD + 4) & 0x400000) ? -1 : (int)got;
}

static void enumerate(void)
{
	start();
	assert_int_equal(control(0, 0, 5, 7, 0, 0, NULL), 0);
	assert_int_equal(control(7, 0, 9, 1, 0, 0, NULL), 0);
}

/* A TD that asks the tablet stays in the queue. */
static void ask(void)
{
	td(0, IN, 7, 1, 8, ERR3 | IOC | SPD, true);
	go(TD);
}

static void test_registers(void **state)
{
	create();
	assert_int_equal(pci_cfg_read(host, 10, 0, 4), 0x70208086);
	assert_int_equal(pci_cfg_read(host, 10, 8, 4) >> 8, 0x0c0300);
	assert_int_equal(pci_cfg_read(host, 10, 0x60, 1), 0x10);
	assert_int_equal(pci_cfg_read(host, 10, 0x3d, 1), 4);
	assert_int_equal(in(0, 2), 0);
	assert_int_equal(in(2, 2), 0x20);
	assert_int_equal(in(12, 1), 0x40);
	assert_int_equal(in(16, 2), 0x93); /* something full speed is plugged in */
	assert_int_equal(in(18, 2), 0x80); /* nothing */
	assert_int_equal(in(20, 2), 0);    /* and no third port */
	out(8, 4, 0x12345fff);
	assert_int_equal(in(8, 4), 0x12345000);
	out(6, 2, 0xfff);
	assert_int_equal(in(6, 2), 0x7ff);
	/* enabling wants a device */
	out(18, 2, 4);
	assert_int_equal(in(18, 2), 0x80);
	out(16, 2, 2);
	assert_int_equal(in(16, 2), 0x91);
	out(16, 2, 0x204); /* reset disables, and the lines are low */
	assert_int_equal(in(16, 2), 0x281);
	out(16, 2, 4);
	assert_int_equal(in(16, 2), 0x95);
	out(17, 1, 0); /* bytes */
	assert_int_equal(in(16, 2), 0x95);
	out(0, 2, 2);
	assert_int_equal(in(0, 2), 0);
	assert_int_equal(in(16, 2), 0x93);
	rig_end(vm);
}

static void test_frames(void **state)
{
	start();
	assert_int_equal(in(2, 2), 0);
	fake_advance(5 * MS);
	assert_int_equal(in(6, 2), 5);
	fake_advance(2048 * MS);
	assert_int_equal(in(6, 2), 5);
	out(6, 2, 100); /* not while it runs */
	assert_int_equal(in(6, 2), 5);
	out(0, 2, 0);
	fake_advance(5 * MS);
	assert_int_equal(in(6, 2), 5);
	assert_int_equal(in(2, 2), 0x20);
	out(6, 2, 100);
	out(0, 2, 1);
	fake_advance(3 * MS);
	assert_int_equal(in(6, 2), 103);
	/* a TD of one frame's list alone: bit 10 of the frame's number is none of its index */
	td(0, IN, 99, 0, 8, ERR3, true);
	put(LIST + 4 * 110, TD);
	fake_advance(5 * MS);
	out(0, 2, 0xc1);
	assert_int_equal(word(TD + 4), ACTIVE | ERR3);
	fake_advance(20 * MS);
	assert_int_equal(word(TD + 4), ACTIVE | 0x10040000);
	fake_advance(1024 * MS);
	assert_int_equal(word(TD + 4), ACTIVE | 0x08040000);
	rig_end(vm);
}

static void test_enumeration(void **state)
{
	uint8_t d[256];

	start();
	/* the first eight bytes say how long a packet is */
	assert_int_equal(control(0, 0x80, 6, 0x100, 0, 8, d), 8);
	assert_memory_equal(d, "\x12\x01\x10\x01\0\0\0\x08", 8);
	assert_int_equal(control(0, 0, 5, 7, 0, 0, NULL), 0);
	assert_int_equal(control(0, 0x80, 6, 0x100, 0, 8, d), -1);
	assert_int_equal(control(7, 0x80, 6, 0x100, 0, 64, d), 18);
	assert_int_equal(control(7, 0x80, 6, 0x200, 0, 9, d), 9);
	assert_int_equal(d[2], 34);
	assert_int_equal(control(7, 0x80, 6, 0x200, 0, 34, d), 34);
	assert_memory_equal(d + 27, "\x07\x05\x81\x03\x08\0\x08", 7);
	assert_int_equal(control(7, 0x80, 6, 0x300, 0, 255, d), 4);
	assert_memory_equal(d, "\x04\x03\x09\x04", 4);
	assert_int_equal(control(7, 0x80, 6, 0x301, 0x409, 255, d), 12);
	assert_memory_equal(d, "\x0c\x03V\0i\0g\0i\0a\0", 12);
	assert_int_equal(control(7, 0x80, 6, 0x303, 0x409, 255, d), -1);
	assert_int_equal(control(7, 0x80, 6, 0x201, 0, 9, d), -1);
	assert_int_equal(control(7, 0x80, 6, 0x600, 0, 10, d), -1); /* qualifier: not high speed */
	assert_int_equal(control(7, 0x80, 8, 0, 0, 1, d), 1);
	assert_int_equal(d[0], 0);
	assert_int_equal(control(7, 0, 9, 2, 0, 0, NULL), -1);
	assert_int_equal(control(7, 0, 9, 1, 0, 0, NULL), 0);
	assert_int_equal(control(7, 0x80, 8, 0, 0, 1, d), 1);
	assert_int_equal(d[0], 1);
	/* the report's descriptor: as long as the HID one says */
	assert_int_equal(control(7, 0x81, 6, 0x2200, 0, 255, d), 72);
	assert_int_equal(control(7, 0x81, 6, 0x2100, 0, 255, d + 80), 9);
	assert_int_equal(d[80 + 7], 72);
	assert_int_equal(control(7, 0x80, 0, 0, 0, 2, d), 2);
	assert_int_equal(d[0], 0);
	assert_int_equal(control(7, 0, 3, 1, 0, 0, NULL), 0); /* may wake us */
	assert_int_equal(control(7, 0x80, 0, 0, 0, 2, d), 2);
	assert_int_equal(d[0], 2);
	assert_int_equal(control(7, 0x21, 10, 0x300, 0, 0, NULL), 0);
	assert_int_equal(control(7, 0xa1, 2, 0, 0, 1, d), 1);
	assert_int_equal(d[0], 3);
	assert_int_equal(control(7, 0x21, 10, 0, 0, 0, NULL), 0);
	assert_int_equal(control(7, 0x21, 11, 1, 0, 0, NULL), -1); /* protocols: not for BIOSes */
	assert_int_equal(control(7, 0x40, 1, 0, 0, 0, NULL), -1);
	/* the endpoint halts, and is freed again */
	assert_int_equal(control(7, 0x02, 3, 0, 0x81, 0, NULL), 0);
	assert_int_equal(control(7, 0x82, 0, 0, 0x81, 2, d), 2);
	assert_int_equal(d[0], 1);
	ask();
	assert_int_equal(word(TD + 4) & 0xff0000, 0x400000);
	assert_int_equal(control(7, 0x02, 1, 0, 0x81, 0, NULL), 0);
	ask();
	assert_int_equal(word(TD + 4) & 0xff0000, 0x880000); /* active, NAK */
	/* a reset of the port takes all of it back */
	out(16, 2, 0x200);
	out(16, 2, 0);
	out(16, 2, 4);
	assert_int_equal(control(0, 0x80, 8, 0, 0, 1, d), 1);
	assert_int_equal(d[0], 0);
	rig_end(vm);
}

static void expect(unsigned n, unsigned buttons, unsigned x, unsigned y, int wheel)
{
	const uint8_t want[6] = {(uint8_t)buttons, (uint8_t)x,        (uint8_t)(x >> 8),
				 (uint8_t)y,       (uint8_t)(y >> 8), (uint8_t)wheel};

	assert_int_equal(word(TD + 4) & 0xff07ff, 5);
	assert_memory_equal(ram + DATA, want, 6);
	assert_true(n);
}

static void test_tablet(void **state)
{
	enumerate();
	assert_false(input_has(&people, INPUT_TABLET));
	assert_false(input_point(&people, 1, 2, 0, 0));
	ask();
	assert_true(input_has(&people, INPUT_TABLET));
	out(2, 2, 1);
	assert_false(rig_pin());
	/* news make it look at the next frame: slot 1's INTD# is wire 0 */
	fake_advance(200 * MS);
	assert_true(input_point(&people, 1000, 32767, 0, BUTTON_RIGHT));
	assert_true(input_busy(&people, INPUT_TABLET));
	fake_advance(1 * MS);
	assert_false(input_busy(&people, INPUT_TABLET));
	expect(1, 2, 1000, 32767, 0);
	assert_int_equal(word(QH + 4), TD); /* a short packet: the queue stays */
	assert_true(rig_pin());
	assert_int_equal(in(2, 2), 1);
	out(2, 2, 1);
	assert_false(rig_pin());
	/* movements become one, clicks do not */
	input_point(&people, 1, 1, 0, 0);
	input_point(&people, 2, 2, 0, 0);
	input_point(&people, 3, 3, 2, 0);
	input_point(&people, 3, 3, -5, BUTTON_LEFT | BUTTON_EXTRA);
	input_point(&people, 3, 3, 0, 0);
	ask();
	expect(1, 0, 3, 3, -2);
	ask();
	expect(1, 0x11, 3, 3, 5);
	ask();
	expect(1, 0, 3, 3, 0);
	ask();
	assert_int_equal(word(TD + 4) & 0xff0000, 0x880000);
	input_point(&people, 3, 3, 0, 0); /* no news */
	ask();
	assert_int_equal(word(TD + 4) & 0xff0000, 0x880000);
	/* more than fits: the last position counts, and no button stays down */
	for (unsigned i = 0; i < 41; i++)
		input_point(&people, i, i, 1, i & 1);
	for (unsigned i = 0; i < 16; i++)
		ask();
	expect(1, 0, 40, 40, -26);
	ask();
	assert_int_equal(word(TD + 4) & 0xff0000, 0x880000);
	/* every 12 ms, news or not */
	assert_int_equal(control(7, 0x21, 10, 0x300, 0, 0, NULL), 0);
	ask();
	expect(1, 0, 40, 40, 0);
	/* who does not ask any more has no driver */
	put(QH + 4, END);
	fake_advance(3 * NS_PER_SEC);
	assert_false(input_point(&people, 1, 2, 0, 0));
	rig_end(vm);
}

static void test_errors(void **state)
{
	enumerate();
	out(2, 2, 0x1f);
	/* nobody has this address: three errors */
	td(0, IN, 9, 1, 8, ERR3 | IOC, true);
	go(TD);
	assert_int_equal(word(TD + 4) & 0x1fff0000, 0x01440000);
	assert_int_equal(word(QH + 4), TD);
	assert_int_equal(in(2, 2), 3);
	assert_true(rig_pin());
	out(2, 2, 2);
	assert_true(rig_pin());
	out(2, 2, 1);
	assert_false(rig_pin());
	/* without a count it goes on for ever */
	td(0, IN, 9, 1, 8, 0, true);
	go(TD);
	assert_int_equal(word(TD + 4) & 0x1fff0000, 0x00840000);
	/* an endpoint that is not there */
	td(0, IN, 7, 2, 8, ERR3, true);
	go(TD);
	assert_int_equal(word(TD + 4) & 0xff0000, 0x400000);
	/* more than there is room for */
	td(0, IN, 7, 1, 4, ERR3, true);
	input_point(&people, 5, 5, 0, 0);
	ask();
	input_point(&people, 6, 5, 0, 0);
	td(0, IN, 7, 1, 4, ERR3, true);
	go(TD);
	assert_int_equal(word(TD + 4) & 0xff0000, 0x500000);
	/* interrupts that the router is not to see */
	out(2, 2, 0x1f);
	pci_cfg_write(host, 10, 0xc0, 2, 0);
	td(0, IN, 7, 2, 8, ERR3 | IOC, true);
	go(TD);
	assert_int_equal(in(2, 2), 3);
	assert_false(rig_pin());
	pci_cfg_write(host, 10, 0xc0, 2, 0x2000);
	assert_true(rig_pin());
	/* nonsense stops it: a length, a PID, memory that is not there */
	out(2, 2, 0x1f);
	td(0, IN, 7, 1, 0x600, ERR3, true);
	go(TD);
	assert_int_equal(in(2, 2), 0x30);
	assert_int_equal(in(0, 2), 0xc0);
	assert_true(rig_pin());
	out(2, 2, 0x1f);
	out(0, 2, 0xc1);
	td(0, 0x55, 7, 1, 8, ERR3, true);
	go(TD);
	assert_int_equal(in(2, 2), 0x30);
	out(2, 2, 0x1f);
	out(0, 2, 0xc1);
	go(0x40000000);
	assert_int_equal(in(2, 2), 0x28);
	rig_end(vm);
}

/* Queues: breadth first, IOC of a TD that is not active, a ring. */
static void test_queues(void **state)
{
	enumerate();
	out(2, 2, 0x1f);
	put(QH, QH2 | 2);
	put(QH2, QH | 2); /* a ring */
	put(QH2 + 4, END);
	for (unsigned i = 0; i < 3; i++) {
		td(i, SETUP, 7, 0, 8, ERR3, i == 2);
		if (i < 2)
			put(TD + 32 * i, TD + 32 * (i + 1)); /* without depth */
	}
	out(4, 2, 0xf);
	fake_advance(1 * MS);
	put(QH + 4, TD);
	out(4, 2, 0xf);
	fake_advance(1 * MS);
	/* around the ring within a frame */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(word(TD + 32 * i + 4) & 0xff07ff, 7);
	assert_int_equal(word(QH + 4), END);
	assert_int_equal(in(2, 2), 0);
	/* one that is done already: no packet, but an interrupt */
	put(TD + 4, IOC | 7);
	put(QH, END);
	put(QH2, END);
	put(QH + 4, TD);
	fake_advance(20 * MS);
	assert_int_equal(word(QH + 4), TD);
	assert_int_equal(in(2, 2), 1);
	out(2, 2, 1);
	fake_advance(20 * MS);
	assert_int_equal(in(2, 2), 1);
	/* a short packet in the frame's list is none of a queue */
	out(4, 2, 0x8);
	td(0, IN, 7, 1, 8, ERR3 | SPD, true);
	out(2, 2, 1);
	for (unsigned i = 0; i < 1024; i++)
		put(LIST + 4 * i, TD);
	input_point(&people, 9, 9, 0, 0);
	fake_advance(20 * MS);
	input_point(&people, 8, 9, 0, 0);
	assert_int_equal(in(2, 2), 0);
	/* in a queue it is: its own interrupt */
	td(0, IN, 7, 1, 8, ERR3 | SPD, false);
	for (unsigned i = 0; i < 1024; i++)
		put(LIST + 4 * i, QH | 2);
	put(QH + 4, TD);
	input_point(&people, 7, 9, 0, 0);
	fake_advance(20 * MS);
	assert_int_equal(in(2, 2), 1);
	assert_true(rig_pin());
	assert_int_equal(word(QH + 4), TD);
	/* without SPD it goes on */
	td(0, IN, 7, 1, 8, ERR3, false);
	put(TD + 32 + 4, 0);
	input_point(&people, 6, 9, 0, 0);
	fake_advance(20 * MS);
	assert_int_equal(word(QH + 4), (TD + 32) | 4);
	rig_end(vm);
}

/* How often the loop is woken. */
static void test_idle(void **state)
{
	unsigned wakes = 0;
	uint64_t end;

	enumerate();
	ask();
	fake_advance(100 * MS);
	for (end = plat_now() + NS_PER_SEC; plat_now() < end; wakes++)
		fake_advance(fake_next_timer() - plat_now());
	assert_in_range(wakes, 40, 70);
	out(0, 2, 0); /* stopped: never */
	fake_advance(100 * MS);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER);
	rig_end(vm);
}

static void test_wake(void **state)
{
	uint8_t d[2];

	enumerate();
	assert_int_equal(control(7, 0, 3, 1, 0, 0, NULL), 0);
	ask();
	out(2, 2, 0x1f);
	out(16, 2, 0x1004); /* suspended */
	assert_int_equal(control(7, 0x80, 0, 0, 0, 2, d), -1);
	out(2, 2, 0x1f);
	assert_true(input_point(&people, 1, 1, 0, 0));
	assert_int_equal(in(16, 2), 0x10d5);
	assert_int_equal(in(2, 2), 4);
	assert_true(rig_pin());
	out(2, 2, 4);
	out(16, 2, 4);
	assert_int_equal(in(16, 2), 0x95);
	assert_false(rig_pin());
	ask();
	expect(1, 0, 1, 1, 0);
	/* all of the bus */
	out(2, 2, 0x1f);
	out(0, 2, 0xc8);
	assert_true(input_point(&people, 2, 1, 0, 0));
	assert_int_equal(in(2, 2), 0x24);
	/* it was not asked to */
	out(2, 2, 0x1f);
	out(0, 2, 0xc1);
	assert_int_equal(control(7, 0, 1, 1, 0, 0, NULL), 0);
	out(16, 2, 0x1004);
	out(2, 2, 0x1f);
	input_point(&people, 3, 1, 0, 0);
	assert_int_equal(in(2, 2), 0);
	rig_end(vm);
}

static void test_no_memory(void **state)
{
	struct uhci_wiring w = {.slot = 1};

	rig_pci();
	input_init(&people);
	fake_fail_alloc(1);
	assert_int_equal(usb_tablet_create(&people, &w.take_port[0]), ERR_NOMEM);
	fake_fail_alloc(0);
	assert_int_equal(usb_tablet_create(&people, &w.take_port[0]), 0);
	fake_fail_alloc(1);
	assert_int_equal(uhci_create(vm, &w, &uhci), ERR_NOMEM);
	fake_fail_alloc(0);
	assert_false(input_has(&people, INPUT_TABLET));
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),   cmocka_unit_test(test_frames),
		cmocka_unit_test(test_enumeration), cmocka_unit_test(test_tablet),
		cmocka_unit_test(test_errors),      cmocka_unit_test(test_queues),
		cmocka_unit_test(test_idle),        cmocka_unit_test(test_wake),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
