/* SPDX-License-Identifier: ISC */
/* state.c: saved state of PCI functions and of the host bridge. On the VM's loop, vCPUs parked. What
 * is derived (mappings, driven pins, what MSI capabilities say) is made again from what is loaded,
 * and read-only bits of a configuration space stay what this machine has. */
#include "dev/pci/internal.h"

#include "base/str.h"
#include "vm/stream.h"
#include "vm/vm.h"

struct message_state {
	uint64_t addr;
	uint32_t data, ctrl;
};
static const struct st_field entry_fields[] = {
	ST_U(struct message_state, addr),
	ST_U(struct message_state, data),
	ST_UMAX(struct message_state, ctrl, 1),
};
static const struct st_field pin_fields[] = {
	ST_B(struct pci_dev, intx_wanted),
	ST_U(struct pci_dev, msix.pending),
	ST_U(struct pci_dev, msi.pending),
};
struct space {
	uint8_t cfg[PCI_CFG_SIZE];
};
static const struct st_field space_fields[] = {ST_RAW(struct space, cfg)};

static void space_take(struct pci_dev *pd, const uint8_t *cfg)
{
	for (unsigned i = 0; i < PCI_CFG_SIZE; i++) {
		uint8_t mask = pd->wmask[i] | pd->w1c[i];

		pd->cfg[i] = (uint8_t)((pd->cfg[i] & ~mask) | (cfg[i] & mask));
	}
	pci_bars_update(pd);
	atomic_store_explicit(&pd->master, pd->cfg[PCI_COMMAND] & PCI_CMD_MASTER,
			      memory_order_release);
}

static void entries_sync(struct pci_dev *pd, struct state_stream *st)
{
	for (unsigned i = 0; i < pd->msix.n; i++) {
		struct message_state m = {pd->msix.entry[i].addr, pd->msix.entry[i].data,
					  pd->msix.entry[i].ctrl};

		ST_SYNC(st, "msix", i, entry_fields, &m);
		pd->msix.entry[i].addr = m.addr;
		pd->msix.entry[i].data = m.data;
		pd->msix.entry[i].ctrl = m.ctrl;
	}
}

int pci_dev_state(struct pci_dev *pd, struct state_stream *st)
{
	struct pci_host *host = pd->host;
	struct space space;

	plat_mutex_lock(&host->lock);
	memcpy(space.cfg, pd->cfg, sizeof(space.cfg));
	ST_SYNC(st, "space", pd->devfn, space_fields, &space);
	plat_mutex_lock(&host->irq_lock);
	entries_sync(pd, st);
	ST_SYNC(st, "pin", pd->devfn, pin_fields, pd);
	plat_mutex_unlock(&host->irq_lock);
	if (st->loading && !st->err) {
		space_take(pd, space.cfg);
		pci_irq_sync(pd);
	}
	plat_mutex_unlock(&host->lock);
	return st->err;
}

static const struct st_field host_fields[] = {
	ST_UMAX(struct pci_host, address, UINT32_MAX),
	ST_U(struct pci_host, reset_control),
};

int pci_host_state(struct dev *dev, struct state_stream *st)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);

	plat_mutex_lock(&host->lock);
	ST_SYNC(st, "host", 0, host_fields, host);
	plat_mutex_unlock(&host->lock);
	return st->err ? st->err : pci_dev_state(&host->bridge, st);
}
