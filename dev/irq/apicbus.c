/* SPDX-License-Identifier: ISC */
/* apicbus.c: routing of interrupt messages to local APICs (SDM vol. 3, 11.6.2, 11.11).
 *
 * Entered by any thread, perhaps with a lock up to RANK_IRQ held; takes local APICs' locks, one at
 * a time. */
#include "dev/irq/apicbus.h"

#include "dev/irq/lapic.h"

#define MSI_REDIRECT BIT(3) /* redirection hint: any one of the destinations */

void apicbus_init(struct apicbus *bus, struct vm *vm)
{
	bus->vm = vm;
	plat_mutex_init(&bus->map_lock, RANK_PCI);
}

/* One of several is to take it: the one whose priority is lowest, in turns where several are
 * equally low, so that the load spreads. */
static bool send_lowest(struct apicbus *bus, const struct apic_msg *msg)
{
	uint32_t turn = atomic_fetch_add_explicit(&bus->turn, 1, memory_order_relaxed);
	struct lapic *best = NULL;
	unsigned best_prio = 0x100;

	for (unsigned i = 0; i < bus->n; i++) {
		struct lapic *l = bus->lapic[(turn + i) % bus->n];

		if (lapic_matches(l, msg) && lapic_takes_fixed(l) &&
		    lapic_priority(l) < best_prio) {
			best_prio = lapic_priority(l);
			best = l;
		}
	}
	return best && lapic_accept(best, msg);
}

static bool send_models(struct apicbus *bus, const struct apic_msg *msg)
{
	bool taken = false;

	if (msg->mode == APIC_LOWEST)
		return send_lowest(bus, msg);
	/* Ids are indices and cannot be changed: no search where just one is named. */
	if (!msg->logical && msg->dest < bus->n)
		return lapic_matches(bus->lapic[msg->dest], msg) &&
		       lapic_accept(bus->lapic[msg->dest], msg);
	for (unsigned i = 0; i < bus->n; i++)
		if (lapic_matches(bus->lapic[i], msg) && lapic_accept(bus->lapic[i], msg))
			taken = true;
	return taken;
}

static bool send_lent(struct apicbus *bus, const struct apics_ops *ops, const struct apic_msg *msg)
{
	uint64_t addr = msi_addr(msg->dest, msg->logical);
	uint32_t data = msg->vector | (uint32_t)msg->mode << 8 | (msg->level ? 3u << 14 : 0);

	return ops->send(bus->vm, addr, data);
}

bool apicbus_send(struct apicbus *bus, const struct apic_msg *msg)
{
	const struct apics_ops *ops = apics_enter(&bus->vm->apics);
	bool taken = ops ? send_lent(bus, ops, msg) : send_models(bus, msg);

	apics_leave(&bus->vm->apics);
	return taken;
}

void apicbus_msi(void *arg, uint64_t addr, uint32_t data)
{
	struct apicbus *bus = arg;
	struct apic_msg msg = {
		.dest = (uint32_t)(addr >> 12) & 0xff,
		.mode = data >> 8 & 7,
		.vector = (uint8_t)data,
		.logical = addr & MSI_LOGICAL,
		.level = data & BIT(15),
	};

	if (addr >> 20 != MSI_BASE >> 20 || msg.mode == APIC_SIPI)
		return;
	if (msg.level && !(data & BIT(14)))
		return; /* deassertion of a level: nothing to withdraw */
	if ((addr & MSI_REDIRECT) && msg.logical && msg.mode == APIC_FIXED)
		msg.mode = APIC_LOWEST;
	apicbus_send(bus, &msg);
}

void apicbus_eoi(struct apicbus *bus, uint8_t vector)
{
	if (bus->eoi)
		bus->eoi(bus->eoi_chip, vector);
}

void apicbus_lent_eoi(void *bus, uint8_t vector)
{
	apicbus_eoi(bus, vector);
}

bool apicbus_waiting(struct apicbus *bus, uint8_t vector)
{
	if (atomic_load_explicit(&bus->vm->apics.ops, memory_order_relaxed))
		return false; /* nobody can look */
	for (unsigned i = 0; i < bus->n; i++)
		if (lapic_waiting(bus->lapic[i], vector))
			return true;
	return false;
}
