/* SPDX-License-Identifier: ISC */
/* gpu.c: virtio graphics device (virtio 1.2, 5.7): the commands of its two queues, 2D, one screen with a monitor's EDID.
 * What a command says is read once into a copy. Queues are run by vCPU threads, and viewers look from theirs; vd.lock
 * serialises. */
#include "base/str.h"
#include "dev/virtio/gpu_impl.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define CONTROL_SIZE 64
#define CURSOR_SIZE  16
#define SEGS         512 /* lists of entries lie anywhere */
#define CONFIG_LEN   16

#define F_EDID BIT64(1)

enum { CONTROL_QUEUE, CURSOR_QUEUE };

/* Commands (5.7.6.7) */
enum {
	CMD_DISPLAY_INFO = 0x100,
	CMD_CREATE,
	CMD_UNREF,
	CMD_SET_SCANOUT,
	CMD_FLUSH,
	CMD_TRANSFER,
	CMD_ATTACH,
	CMD_DETACH,
	CMD_EDID = 0x10a,
	CMD_UPDATE_CURSOR = 0x300,
	CMD_MOVE_CURSOR,
};

#define HEAD       24 /* le32 type, le32 flags, le64 fence, le32 context, u8 ring, padding */
#define FLAG_FENCE 1
#define SCREENS    16 /* places in the answer, of which one is ours */
#define EDID_ROOM  1024

struct answer {
	uint32_t type;
	uint32_t len;
	uint8_t b[HEAD + 8 + EDID_ROOM];
};

static struct gpu *to_gpu(struct virtio_dev *vd)
{
	return container_of(vd, struct gpu, vd);
}

static uint32_t word(const uint8_t *body, unsigned n)
{
	return (uint32_t)virtio_get(body + 4 * n, 4);
}

static struct gpu_rect rect_at(const uint8_t *body)
{
	return (struct gpu_rect){word(body, 0), word(body, 1), word(body, 2), word(body, 3)};
}

/* ---- commands; lock held. body: what follows the head, as long as rows[] says ---------------------- */

static unsigned cmd_display_info(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
				 struct answer *a)
{
	uint8_t *mode = a->b + HEAD;

	a->len = HEAD + SCREENS * 24;
	virtio_put(mode + 8, 4, EDID_WIDTH);
	virtio_put(mode + 12, 4, EDID_HEIGHT);
	virtio_put(mode + 16, 4, 1);
	return GPU_OK_DISPLAY_INFO;
}

static unsigned cmd_edid(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			 struct answer *a)
{
	if (word(body, 0))
		return GPU_ERR_SCANOUT;
	a->len = sizeof(a->b);
	virtio_put(a->b + HEAD, 4, EDID_SIZE);
	memcpy(a->b + HEAD + 8, g->edid, EDID_SIZE);
	return GPU_OK_EDID;
}

static unsigned cmd_create(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			   struct answer *a)
{
	return gpu_create(g, word(body, 0), word(body, 1), word(body, 2), word(body, 3));
}

static unsigned cmd_unref(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			  struct answer *a)
{
	struct gpu_resource *r = gpu_find(g, word(body, 0));

	if (!r)
		return GPU_ERR_RESOURCE;
	gpu_unref(g, r);
	return GPU_OK;
}

/* Resource 0 switches the screen off. */
static unsigned cmd_set_scanout(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
				struct answer *a)
{
	struct gpu_rect rect = rect_at(body);
	struct gpu_resource *r = gpu_find(g, word(body, 5));

	if (word(body, 4))
		return GPU_ERR_SCANOUT;
	if (!r && word(body, 5))
		return GPU_ERR_RESOURCE;
	if (r && (!rect.w || !rect.h || rect.w > DISPLAY_MAX_W || rect.h > DISPLAY_MAX_H ||
		  !gpu_inside(&rect, r->w, r->h)))
		return GPU_ERR_PARAMETER;
	g->shown = r ? r->id : 0;
	g->scanout = r ? rect : (struct gpu_rect){0};
	gpu_dirty_all(g);
	return GPU_OK;
}

static unsigned cmd_flush(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			  struct answer *a)
{
	struct gpu_rect rect = rect_at(body);
	struct gpu_resource *r = gpu_find(g, word(body, 4));

	if (!r)
		return GPU_ERR_RESOURCE;
	if (!gpu_inside(&rect, r->w, r->h))
		return GPU_ERR_PARAMETER;
	gpu_dirty(g, r, &rect);
	return GPU_OK;
}

static unsigned cmd_transfer(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			     struct answer *a)
{
	struct gpu_rect rect = rect_at(body);
	struct gpu_resource *r = gpu_find(g, word(body, 6));

	return r ? gpu_transfer(g, r, &rect, virtio_get(body + 16, 8)) : GPU_ERR_RESOURCE;
}

/* The entries follow: le64 address, le32 length, padding. */
static unsigned cmd_attach(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			   struct answer *a)
{
	struct gpu_resource *r = gpu_find(g, word(body, 0));
	uint32_t n = word(body, 1);
	struct gpu_entry *e;

	if (!r || r->entries)
		return r ? GPU_ERR_UNSPEC : GPU_ERR_RESOURCE;
	if (!n || n > GPU_ENTRIES || c->out_len < (uint64_t)n * sizeof(*e))
		return GPU_ERR_PARAMETER;
	e = gpu_entries(g, r);
	if (virtq_read(c, e, n * sizeof(*e)) != n * sizeof(*e))
		return GPU_ERR_PARAMETER;
	for (uint32_t i = 0; i < n; i++)
		if (!e[i].len || e[i].gpa + e[i].len < e[i].gpa)
			return GPU_ERR_PARAMETER;
	r->entries = n;
	return GPU_OK;
}

static unsigned cmd_detach(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			   struct answer *a)
{
	struct gpu_resource *r = gpu_find(g, word(body, 0));

	if (!r)
		return GPU_ERR_RESOURCE;
	r->entries = 0;
	return GPU_OK;
}

/* le32 screen, x, y, padding, and for an update le32 resource, hot x, hot y: x and y are the hot spot's (5.7.6.10). */
static unsigned cmd_cursor(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			   struct answer *a)
{
	bool update = virtio_get(a->b, 4) == CMD_UPDATE_CURSOR;

	if (word(body, 0))
		return GPU_ERR_SCANOUT;
	if (update && word(body, 4) && !gpu_find(g, word(body, 4)))
		return GPU_ERR_RESOURCE;
	gpu_dirty_cursor(g);
	if (update) {
		g->cursor.resource = word(body, 4);
		g->cursor.hot_x = word(body, 5);
		g->cursor.hot_y = word(body, 6);
	}
	g->cursor.x = word(body, 1) - g->cursor.hot_x;
	g->cursor.y = word(body, 2) - g->cursor.hot_y;
	gpu_dirty_cursor(g);
	return GPU_OK;
}

#define BODY_MAX 32

static const struct command {
	uint16_t number;
	uint8_t queue, body;
	unsigned (*run)(struct gpu *g, const uint8_t *body, struct virtq_chain *c,
			struct answer *a);
} commands[] = {
	{CMD_DISPLAY_INFO, CONTROL_QUEUE, 0, cmd_display_info},
	{CMD_CREATE, CONTROL_QUEUE, 16, cmd_create},
	{CMD_UNREF, CONTROL_QUEUE, 8, cmd_unref},
	{CMD_SET_SCANOUT, CONTROL_QUEUE, 24, cmd_set_scanout},
	{CMD_FLUSH, CONTROL_QUEUE, 24, cmd_flush},
	{CMD_TRANSFER, CONTROL_QUEUE, 32, cmd_transfer},
	{CMD_ATTACH, CONTROL_QUEUE, 8, cmd_attach},
	{CMD_DETACH, CONTROL_QUEUE, 8, cmd_detach},
	{CMD_EDID, CONTROL_QUEUE, 8, cmd_edid},
	{CMD_UPDATE_CURSOR, CURSOR_QUEUE, 32, cmd_cursor},
	{CMD_MOVE_CURSOR, CURSOR_QUEUE, 32, cmd_cursor},
};

static const struct command *command_of(uint64_t number, unsigned queue)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].number == number && commands[i].queue == queue)
			return &commands[i];
	return NULL;
}

/* ---- queues ------------------------------------------------------------------------------------------------ */

static struct virtq_chain *control_get(struct virtio_dev *vd)
{
	return &to_gpu(vd)->control;
}

static struct virtq_chain *cursor_get(struct virtio_dev *vd)
{
	return &to_gpu(vd)->cursor_chain;
}

/* The answer's head is the command's: a fence is passed when the answer is there. */
static int64_t gpu_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	uint8_t head[HEAD], body[BODY_MAX] = {0};
	struct answer a = {.len = HEAD, .type = GPU_ERR_UNSPEC};
	const struct command *cmd;
	uint32_t flags;

	if (virtq_read(c, head, HEAD) != HEAD)
		return 0;
	cmd = command_of(virtio_get(head, 4), q->index);
	flags = (uint32_t)virtio_get(head + 4, 4) & FLAG_FENCE;
	virtio_put(a.b, 4, virtio_get(head, 4));
	if (cmd && virtq_read(c, body, cmd->body) == cmd->body) {
		plat_mutex_lock(&vd->lock);
		a.type = cmd->run(to_gpu(vd), body, c, &a);
		plat_mutex_unlock(&vd->lock);
	}
	if (a.type >= GPU_ERR_UNSPEC)
		a.len = HEAD;
	virtio_put(a.b, 4, a.type);
	virtio_put(a.b + 4, 4, flags);
	if (flags)
		memcpy(a.b + 8, head + 8, 12); /* fence and context */
	return (int64_t)virtq_write(q, c, 0, a.b, a.len);
}

static const struct virtio_queue_ops gpu_queues[] = {
	[CONTROL_QUEUE] = {.size = CONTROL_SIZE,
			   .bell = true,
			   .get = control_get,
			   .handle = gpu_handle},
	[CURSOR_QUEUE] = {.size = CURSOR_SIZE, .get = cursor_get, .handle = gpu_handle},
};

/* ---- the device ---------------------------------------------------------------------------------------------- */

static void gpu_config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	uint8_t c[CONFIG_LEN] = {0}; /* no events */

	virtio_put(c + 8, 4, 1); /* screens */
	memcpy(buf, c + off, len);
}

static void gpu_reset(struct virtio_dev *vd)
{
	struct gpu *g = to_gpu(vd);

	for (unsigned i = 0; i < GPU_RESOURCES; i++)
		if (g->resource[i].id)
			gpu_unref(g, &g->resource[i]);
	memset(&g->cursor, 0, sizeof(g->cursor));
	g->scanout = (struct gpu_rect){0};
}

static void gpu_destroy(struct virtio_dev *vd)
{
	struct gpu *g = to_gpu(vd);

	if (g->display)
		display_leave(g->display);
	if (g->memory)
		plat_pages_free(g->memory, GPU_MEMORY);
	if (g->entry)
		plat_pages_free(g->entry, GPU_RESOURCES * GPU_ENTRIES * sizeof(*g->entry));
	if (g->pixels)
		plat_pages_free(g->pixels, DISPLAY_MAX_W * DISPLAY_MAX_H * sizeof(*g->pixels));
	virtq_chain_fini(&g->control);
	virtq_chain_fini(&g->cursor_chain);
}

static const struct virtio_ops gpu_ops = {
	.id = VIRTIO_ID_GPU,
	.pci_class = 0x038000,
	.features = F_EDID,
	.n_queues = ARRAY_SIZE(gpu_queues),
	.queue = gpu_queues,
	.config_len = CONFIG_LEN,
	.config_read = gpu_config_read,
	.reset = gpu_reset,
	.state = gpu_state,
	.destroy = gpu_destroy,
};

static const struct dev_class gpu_class = {
	.name = "virtio-gpu",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

int virtio_gpu_create(struct vm *vm, struct pci_host *host, const struct virtio_gpu_wiring *w,
		      struct virtio_dev **out)
{
	struct gpu *g = plat_alloc(sizeof(*g));
	int err;

	if (!g)
		return err_here(ERR_NOMEM);
	edid_make(g->edid);
	virtio_init(&g->vd, vm, &gpu_class, &gpu_ops, 0);
	g->memory = plat_pages_alloc(GPU_MEMORY);
	g->entry = plat_pages_alloc(GPU_RESOURCES * GPU_ENTRIES * sizeof(*g->entry));
	g->pixels = plat_pages_alloc(DISPLAY_MAX_W * DISPLAY_MAX_H * sizeof(*g->pixels));
	if (!g->memory || !g->entry || !g->pixels || virtq_chain_init(&g->control, SEGS) ||
	    virtq_chain_init(&g->cursor_chain, SEGS)) {
		virtio_destroy(&g->vd.dev);
		return err_here(ERR_NOMEM);
	}
	err = virtio_plug(&g->vd, host, w->slot);
	if (err)
		return err;
	gpu_parts_add(g);
	g->display = w->display;
	plat_mutex_lock(&w->display->lock);
	w->display->refresh = gpu_refresh;
	w->display->dev = g;
	w->display->pixels = g->pixels;
	plat_mutex_unlock(&w->display->lock);
	*out = &g->vd;
	return 0;
}
