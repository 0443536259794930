/* SPDX-License-Identifier: ISC */
/* i8042.c: keyboard controller of the PC AT (IBM technical reference, 8042; no auxiliary port) with
 * nothing plugged in, and port 92H.
 *
 * All commands answer, so that drivers find out quickly: a byte for the keyboard runs into the
 * controller's time-out, which is reported at once. Entered by any vCPU thread; kbc->lock
 * serialises. */
#include "dev/pc/i8042.h"

#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* Status */
#define ST_OBF     BIT(0)
#define ST_SYS     BIT(2) /* self-test passed */
#define ST_CMD     BIT(3) /* last write was to 64H */
#define ST_UNLOCK  BIT(4)
#define ST_TIMEOUT BIT(6)
/* Command byte */
#define CTR_IRQ1   BIT(0)
#define CTR_SYS    BIT(2)
#define CTR_NO_KBD BIT(4)
#define CTR_NO_AUX BIT(5)
/* Output port */
#define OUT_RESET BIT(0) /* low: processor is reset */
#define OUT_A20   BIT(1)

#define KBD_RESEND 0xfe

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
};

static void irq_update(struct i8042 *kbc)
{
	irq_set(&kbc->w.irq, kbc->full && (kbc->ram[0] & CTR_IRQ1));
}

static void answer(struct i8042 *kbc, uint8_t v)
{
	kbc->data = v;
	kbc->full = true;
	kbc->status &= (uint8_t)~ST_TIMEOUT;
}

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
		answer(kbc, 0x01); /* clock line stuck: there is no such port */
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
				      (kbc->full ? BIT(4) : 0) | 0xc0));
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
	default: /* AUX off and on too: CTR_NO_AUX stays, as the port is absent */
		break;
	}
	return false;
}

/* True: resets the machine. */
static bool data_write(struct i8042 *kbc, uint8_t v)
{
	uint8_t cmd = kbc->command;

	kbc->command = 0;
	switch (cmd) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
		kbc->ram[cmd & 31] = cmd == CMD_WRITE_RAM ? v | CTR_NO_AUX : v;
		if (cmd == CMD_WRITE_RAM)
			kbc->status = (uint8_t)((kbc->status & ~ST_SYS) | (v & CTR_SYS));
		break;
	case CMD_WRITE_OUTPUT:
		return output_write(kbc, v);
	case CMD_WRITE_KBD_BUF:
	case CMD_WRITE_AUX_BUF: /* nothing marks it as the mouse's: one more sign of absence */
		answer(kbc, v);
		break;
	default: /* for the keyboard, or the mouse: nobody is there */
		if (cmd == 0)
			kbc->ram[0] &= (uint8_t)~CTR_NO_KBD;
		answer(kbc, KBD_RESEND);
		kbc->status |= ST_TIMEOUT;
	}
	return false;
}

static uint64_t data_port_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t v;

	plat_mutex_lock(&kbc->lock);
	v = kbc->data;
	kbc->full = false;
	kbc->status &= (uint8_t)~ST_TIMEOUT;
	irq_update(kbc);
	plat_mutex_unlock(&kbc->lock);
	return v;
}

static uint64_t status_port_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t v;

	plat_mutex_lock(&kbc->lock);
	v = kbc->status | (kbc->full ? ST_OBF : 0);
	plat_mutex_unlock(&kbc->lock);
	return v;
}

static void kbc_write(struct i8042 *kbc, bool is_command, uint8_t v)
{
	bool reset;

	plat_mutex_lock(&kbc->lock);
	kbc->status = (uint8_t)((kbc->status & ~ST_CMD) | (is_command ? ST_CMD : 0));
	reset = is_command ? command(kbc, v) : data_write(kbc, v);
	irq_update(kbc);
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
	kbc->ram[0] = CTR_SYS | CTR_NO_AUX;
	kbc->port92 = 0;
	a20_set(kbc, true);
	irq_update(kbc);
	plat_mutex_unlock(&kbc->lock);
}

static void i8042_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct i8042, dev));
}

static const struct st_field kbc_fields[] = {
	ST_U(struct i8042, status),  ST_B(struct i8042, full),  ST_U(struct i8042, data),
	ST_U(struct i8042, command), ST_RAW(struct i8042, ram), ST_B(struct i8042, a20),
	ST_U(struct i8042, port92),
};

static int i8042_state(struct dev *dev, struct state_stream *st)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	plat_mutex_lock(&kbc->lock);
	ST_SYNC(st, "kbc", 0, kbc_fields, kbc);
	if (st->loading && !st->err) {
		irq_set(&kbc->w.a20, kbc->a20);
		irq_update(kbc);
	}
	plat_mutex_unlock(&kbc->lock);
	return st->err;
}

static const struct dev_class i8042_class = {
	.name = "i8042",
	.reset = i8042_reset,
	.state = i8042_state,
	.destroy = i8042_destroy,
};

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
	i8042_reset(&kbc->dev);
	for (i = 0; i < ARRAY_SIZE(kbc_regions); i++) {
		err = bus_map(&vm->pio, &kbc_regions[i], kbc);
		if (err)
			goto out;
	}
	vm_add_dev(vm, &kbc->dev, &i8042_class);
	*out = kbc;
	return 0;
out:
	while (i-- > 0)
		bus_unmap(&vm->pio, &kbc_regions[i], kbc);
	plat_free(kbc);
	return err;
}
