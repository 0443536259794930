/* SPDX-License-Identifier: ISC */
/* i8042.c: keyboard controller of the PC AT and PS/2 (IBM technical references, 8042) and port 92H.
 *
 * Keyboard and mouse are plugged in where the machine has input. Their bytes come a millisecond apart,
 * as on the wire: programs that hook the keyboard's interrupt read port 60H, and those before them read
 * the same byte again. A guest that polls is given the byte when it is due, one that waits for the
 * interrupt by a timer. Where nothing is plugged in, a byte for the keyboard runs into the controller's
 * time-out, which is reported at once, so that drivers find out quickly.
 *
 * Entered by any vCPU thread, by those that type, and by the loop's; kbc->lock serialises. */
#include "dev/pc/i8042.h"

#include "dev/pc/ps2kbd.h"
#include "dev/pc/ps2mouse.h"
#include "ui/input.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* Status */
#define ST_OBF     BIT(0)
#define ST_SYS     BIT(2) /* self-test passed */
#define ST_CMD     BIT(3) /* last write was to 64H */
#define ST_UNLOCK  BIT(4)
#define ST_AUX     BIT(5) /* the byte in the output buffer is the mouse's */
#define ST_TIMEOUT BIT(6)
/* Command byte */
#define CTR_IRQ1   BIT(0)
#define CTR_IRQ12  BIT(1)
#define CTR_SYS    BIT(2)
#define CTR_NO_KBD BIT(4)
#define CTR_NO_AUX BIT(5)
#define CTR_XLAT   BIT(6) /* scan codes of set 2 become those of set 1 */
/* Output port */
#define OUT_RESET BIT(0) /* low: processor is reset */
#define OUT_A20   BIT(1)

#define RELEASE 0xf0 /* prefix in set 2 */
#define BYTE_NS 1000000

enum {
	CMD_READ_RAM = 0x20,  /* …3FH */
	CMD_WRITE_RAM = 0x60, /* …7FH */
	CMD_AUX_OFF = 0xa7,
	CMD_AUX_ON = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_OFF = 0xad,
	CMD_KBD_ON = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_BUF = 0xd2,
	CMD_WRITE_AUX_BUF = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_TEST_INPUTS = 0xe0,
	CMD_PULSE = 0xf0, /* …FFH: bits 0-3 low for some microseconds */
};

struct i8042 {
	struct dev dev;
	struct i8042_wiring w;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t status;         /* without ST_OBF */
	bool full;              /* output buffer */
	uint8_t data;           /* in it */
	uint8_t command;        /* that waits for its byte; 0: none */
	uint8_t ram[32];        /* 0: command byte */
	bool a20;
	uint8_t port92;

	/* with w.input */
	bool aux;         /* data is the mouse's */
	bool release;     /* a prefix of set 2 waits for its code */
	bool frozen;      /* the VM is being saved */
	uint64_t next_at; /* no byte of a device before */
	struct ps2kbd kbd;
	struct ps2mouse mouse;
	struct plat_timer timer;
	uint64_t timer_at; /* PLAT_FOREVER: not armed */
};

static void irq_update(struct i8042 *kbc)
{
	irq_set(&kbc->w.irq, kbc->full && !kbc->aux && (kbc->ram[0] & CTR_IRQ1));
	irq_set(&kbc->w.irq_aux, kbc->full && kbc->aux && (kbc->ram[0] & CTR_IRQ12));
}

static void put_data(struct i8042 *kbc, uint8_t v, bool aux)
{
	kbc->data = v;
	kbc->full = true;
	kbc->aux = aux;
	kbc->status &= (uint8_t)~ST_TIMEOUT;
}

static void answer(struct i8042 *kbc, uint8_t v)
{
	put_data(kbc, v, false);
}

/* ---- bytes of keyboard and mouse -------------------------------------------------------------- */

/* True: v is to be seen; a prefix only changes what follows. */
static bool translate(struct i8042 *kbc, uint8_t *v)
{
	if (!(kbc->ram[0] & CTR_XLAT))
		return true;
	if (*v == RELEASE) {
		kbc->release = true;
		return false;
	}
	*v = ps2_set2_to_1(*v);
	if (kbc->release && *v < 0x80)
		*v |= 0x80;
	kbc->release = false;
	return true;
}

static bool kbd_waits(const struct i8042 *kbc)
{
	return ps2kbd_pending(&kbc->kbd) && !(kbc->ram[0] & CTR_NO_KBD);
}

static bool aux_waits(const struct i8042 *kbc)
{
	return ps2mouse_pending(&kbc->mouse) && !(kbc->ram[0] & CTR_NO_AUX);
}

/* The next byte into the output buffer, if there is one and it is time. */
static void feed(struct i8042 *kbc, uint64_t now)
{
	uint8_t v;

	while (!kbc->full && !kbc->frozen && now >= kbc->next_at) {
		if (kbd_waits(kbc)) {
			v = ps2kbd_read(&kbc->kbd);
			if (translate(kbc, &v))
				put_data(kbc, v, false);
		} else if (aux_waits(kbc)) {
			put_data(kbc, ps2mouse_read(&kbc->mouse), true);
		} else {
			return;
		}
	}
}

/* Brings everything up to date, after whatever has happened. */
static void settle(struct i8042 *kbc)
{
	uint64_t now, at;

	if (kbc->w.input) {
		now = plat_now();
		ps2kbd_tick(&kbc->kbd, now);
		ps2mouse_tick(&kbc->mouse, now);
		feed(kbc, now);
		at = MIN(kbc->kbd.repeat_at, ps2mouse_due(&kbc->mouse));
		if (!kbc->full && (kbd_waits(kbc) || aux_waits(kbc)))
			at = MIN(at, kbc->next_at);
		if (kbc->frozen)
			at = PLAT_FOREVER;
		if (at != kbc->timer_at)
			plat_timer_arm(&kbc->timer, at);
		kbc->timer_at = at;
	}
	irq_update(kbc);
}

static void on_timer(void *arg)
{
	struct i8042 *kbc = arg;

	plat_mutex_lock(&kbc->lock);
	kbc->timer_at = PLAT_FOREVER;
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
}

static void on_key(void *dev, unsigned key, bool down)
{
	struct i8042 *kbc = dev;

	plat_mutex_lock(&kbc->lock);
	ps2kbd_key(&kbc->kbd, key, down);
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
	if (down)
		irq_pulse(&kbc->w.wake);
}

static void on_move(void *dev, int dx, int dy, int dz, unsigned buttons)
{
	struct i8042 *kbc = dev;

	plat_mutex_lock(&kbc->lock);
	ps2mouse_move(&kbc->mouse, dx, dy, dz, buttons);
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
}

static bool kbd_busy(void *dev)
{
	struct i8042 *kbc = dev;
	bool busy;

	plat_mutex_lock(&kbc->lock);
	busy = ps2kbd_pending(&kbc->kbd) || (kbc->full && !kbc->aux);
	plat_mutex_unlock(&kbc->lock);
	return busy;
}

static bool mouse_busy(void *dev)
{
	struct i8042 *kbc = dev;
	bool busy;

	plat_mutex_lock(&kbc->lock);
	busy = ps2mouse_pending(&kbc->mouse) || (kbc->full && kbc->aux) ||
	       ps2mouse_due(&kbc->mouse) != PLAT_FOREVER;
	plat_mutex_unlock(&kbc->lock);
	return busy;
}

/* ---- ports --------------------------------------------------------------------------------------- */

static void a20_set(struct i8042 *kbc, bool on)
{
	if (on == kbc->a20)
		return;
	kbc->a20 = on;
	irq_set(&kbc->w.a20, on);
}

/* True: resets the machine. */
static bool output_write(struct i8042 *kbc, uint8_t v)
{
	a20_set(kbc, v & OUT_A20);
	return !(v & OUT_RESET);
}

/* True: resets the machine. */
static bool command(struct i8042 *kbc, uint8_t cmd)
{
	kbc->command = 0;
	switch (cmd) {
	case CMD_READ_RAM ... CMD_READ_RAM + 31:
		answer(kbc, kbc->ram[cmd & 31]);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
	case CMD_WRITE_OUTPUT:
	case CMD_WRITE_KBD_BUF:
	case CMD_WRITE_AUX_BUF:
	case CMD_WRITE_AUX:
		kbc->command = cmd;
		break;
	case CMD_AUX_TEST:
		answer(kbc, kbc->w.input ? 0x00 : 0x01); /* clock line stuck: no such port */
		break;
	case CMD_AUX_OFF:
		kbc->ram[0] |= CTR_NO_AUX;
		break;
	case CMD_AUX_ON: /* CTR_NO_AUX stays where the port is absent */
		if (kbc->w.input)
			kbc->ram[0] &= (uint8_t)~CTR_NO_AUX;
		break;
	case CMD_SELF_TEST:
		kbc->status |= ST_SYS;
		kbc->ram[0] |= CTR_NO_KBD | CTR_NO_AUX;
		answer(kbc, 0x55);
		break;
	case CMD_KBD_TEST:
		answer(kbc, 0x00);
		break;
	case CMD_KBD_OFF:
		kbc->ram[0] |= CTR_NO_KBD;
		break;
	case CMD_KBD_ON:
		kbc->ram[0] &= (uint8_t)~CTR_NO_KBD;
		break;
	case CMD_READ_INPUT:
		answer(kbc, 0x80); /* not locked */
		break;
	case CMD_READ_OUTPUT:
		answer(kbc, (uint8_t)(OUT_RESET | (kbc->a20 ? OUT_A20 : 0) |
				      (kbc->full ? BIT(kbc->aux ? 5 : 4) : 0) | 0xc0));
		break;
	case CMD_TEST_INPUTS:
		answer(kbc, 0x00);
		break;
	case CMD_A20_OFF:
	case CMD_A20_ON:
		a20_set(kbc, cmd == CMD_A20_ON);
		break;
	case CMD_PULSE ... 0xff:
		return !(cmd & OUT_RESET);
	default:
		break;
	}
	return false;
}

/* For the keyboard, or the mouse. */
static void device_write(struct i8042 *kbc, bool aux, uint8_t v)
{
	if (!aux)
		kbc->ram[0] &= (uint8_t)~CTR_NO_KBD;
	if (!kbc->w.input) { /* nobody is there */
		answer(kbc, PS2_RESEND);
		kbc->status |= ST_TIMEOUT;
	} else if (aux) {
		ps2mouse_write(&kbc->mouse, v);
	} else {
		kbc->release = false;
		ps2kbd_write(&kbc->kbd, v);
	}
}

/* True: resets the machine. */
static bool data_write(struct i8042 *kbc, uint8_t v)
{
	uint8_t cmd = kbc->command;

	kbc->command = 0;
	switch (cmd) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
		kbc->ram[cmd & 31] = v;
		if (cmd == CMD_WRITE_RAM && !kbc->w.input)
			kbc->ram[0] |= CTR_NO_AUX;
		if (cmd == CMD_WRITE_RAM)
			kbc->status = (uint8_t)((kbc->status & ~ST_SYS) | (v & CTR_SYS));
		break;
	case CMD_WRITE_OUTPUT:
		return output_write(kbc, v);
	case CMD_WRITE_KBD_BUF:
	case CMD_WRITE_AUX_BUF: /* without mouse nothing marks it as its: a sign of absence */
		put_data(kbc, v, cmd == CMD_WRITE_AUX_BUF && kbc->w.input);
		break;
	default:
		device_write(kbc, cmd == CMD_WRITE_AUX, v);
	}
	return false;
}

static uint64_t data_port_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t v;

	plat_mutex_lock(&kbc->lock);
	v = kbc->data;
	if (kbc->full && kbc->w.input)
		kbc->next_at = plat_now() + BYTE_NS;
	kbc->full = false;
	kbc->status &= (uint8_t)~ST_TIMEOUT;
	irq_update(kbc); /* falls, before the next byte raises it */
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
	return v;
}

static uint64_t status_port_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t v;

	plat_mutex_lock(&kbc->lock);
	settle(kbc);
	v = kbc->status | (kbc->full ? ST_OBF : 0) | (kbc->full && kbc->aux ? ST_AUX : 0);
	plat_mutex_unlock(&kbc->lock);
	return v;
}

static void kbc_write(struct i8042 *kbc, bool is_command, uint8_t v)
{
	bool reset;

	plat_mutex_lock(&kbc->lock);
	kbc->status = (uint8_t)((kbc->status & ~ST_CMD) | (is_command ? ST_CMD : 0));
	reset = is_command ? command(kbc, v) : data_write(kbc, v);
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
	if (reset) /* takes a lock that is above ours */
		vm_request_reset(kbc->dev.vm);
}

static void data_port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	kbc_write(dev, false, (uint8_t)value);
}

static void command_port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	kbc_write(dev, true, (uint8_t)value);
}

/* System control port A: bit 0 rising resets, bit 1 is A20, the others are latches. */
static uint64_t port92_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	unsigned v;

	plat_mutex_lock(&kbc->lock);
	v = (kbc->port92 & ~BIT(1)) | (kbc->a20 ? BIT(1) : 0);
	plat_mutex_unlock(&kbc->lock);
	return v;
}

static void port92_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i8042 *kbc = dev;
	bool reset;

	plat_mutex_lock(&kbc->lock);
	reset = (value & BIT(0)) && !(kbc->port92 & BIT(0));
	kbc->port92 = (uint8_t)value & 0xcb;
	a20_set(kbc, value & BIT(1));
	plat_mutex_unlock(&kbc->lock);
	if (reset)
		vm_request_reset(kbc->dev.vm);
}

static const struct bus_region kbc_regions[] = {
	{.name = "i8042",
	 .base = 0x60,
	 .len = 1,
	 .min = 1,
	 .max = 1,
	 .read = data_port_read,
	 .write = data_port_write},
	{.name = "i8042",
	 .base = 0x64,
	 .len = 1,
	 .min = 1,
	 .max = 1,
	 .read = status_port_read,
	 .write = command_port_write},
	{.name = "port92",
	 .base = 0x92,
	 .len = 1,
	 .min = 1,
	 .max = 1,
	 .read = port92_read,
	 .write = port92_write},
};

static void i8042_reset(struct dev *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	plat_mutex_lock(&kbc->lock);
	kbc->status = ST_UNLOCK | ST_SYS;
	kbc->full = false;
	kbc->command = 0;
	for (unsigned i = 0; i < sizeof(kbc->ram); i++)
		kbc->ram[i] = 0;
	kbc->ram[0] = CTR_SYS | CTR_NO_AUX | (kbc->w.input ? CTR_XLAT : 0);
	kbc->port92 = 0;
	kbc->aux = kbc->release = false;
	kbc->next_at = 0;
	ps2kbd_reset(&kbc->kbd);
	ps2mouse_reset(&kbc->mouse);
	a20_set(kbc, true);
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
}

static int i8042_freeze(struct dev *dev, bool on)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	plat_mutex_lock(&kbc->lock);
	kbc->frozen = on;
	settle(kbc);
	plat_mutex_unlock(&kbc->lock);
	return 0;
}

static void i8042_destroy(struct dev *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	if (kbc->w.input)
		input_remove(kbc->w.input, kbc);
	plat_free(kbc);
}

static const struct st_field kbc_fields[] = {
	ST_U(struct i8042, status),  ST_B(struct i8042, full),  ST_U(struct i8042, data),
	ST_U(struct i8042, command), ST_RAW(struct i8042, ram), ST_B(struct i8042, a20),
	ST_U(struct i8042, port92),
};

static const struct st_field ps2_fields[] = {
	ST_B(struct i8042, aux),
	ST_B(struct i8042, release),
};

static void ps2_state(struct i8042 *kbc, struct state_stream *st)
{
	ST_SYNC(st, "ps2", 0, ps2_fields, kbc);
	if (!st->err)
		(void)ps2kbd_state(&kbc->kbd, st);
	if (!st->err)
		(void)ps2mouse_state(&kbc->mouse, st);
}

static int i8042_state(struct dev *dev, struct state_stream *st)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	plat_mutex_lock(&kbc->lock);
	ST_SYNC(st, "kbc", 0, kbc_fields, kbc);
	if (kbc->w.input && !st->err)
		ps2_state(kbc, st);
	if (st->loading && !st->err) {
		irq_set(&kbc->w.a20, kbc->a20);
		irq_update(kbc); /* nothing new before all chips are loaded: i8042_freeze() */
	}
	plat_mutex_unlock(&kbc->lock);
	return st->err;
}

static const struct dev_class i8042_class = {
	.name = "i8042",
	.reset = i8042_reset,
	.state = i8042_state,
	.freeze = i8042_freeze,
	.destroy = i8042_destroy,
};

static void plug_in(struct i8042 *kbc)
{
	input_add(kbc->w.input,
		  &(struct input_device){
			  .kind = INPUT_KEYBOARD, .dev = kbc, .busy = kbd_busy, .key = on_key});
	input_add(kbc->w.input,
		  &(struct input_device){
			  .kind = INPUT_MOUSE, .dev = kbc, .busy = mouse_busy, .move = on_move});
}

int i8042_create(struct vm *vm, const struct i8042_wiring *w, struct i8042 **out)
{
	struct i8042 *kbc = plat_alloc(sizeof(*kbc));
	unsigned i;
	int err = 0;

	if (!kbc)
		return err_here(ERR_NOMEM);
	kbc->w = *w;
	kbc->a20 = true;
	plat_mutex_init(&kbc->lock, RANK_DEVICE);
	plat_timer_init(&kbc->timer, vm->loop, on_timer, kbc);
	kbc->timer_at = PLAT_FOREVER;
	i8042_reset(&kbc->dev);
	for (i = 0; i < ARRAY_SIZE(kbc_regions); i++) {
		err = bus_map(&vm->pio, &kbc_regions[i], kbc);
		if (err)
			goto out;
	}
	vm_add_dev(vm, &kbc->dev, &i8042_class);
	if (w->input)
		plug_in(kbc);
	*out = kbc;
	return 0;
out:
	while (i-- > 0)
		bus_unmap(&vm->pio, &kbc_regions[i], kbc);
	plat_free(kbc);
	return err;
}
