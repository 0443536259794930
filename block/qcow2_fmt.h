/* SPDX-License-Identifier: ISC */
/* qcow2_fmt.h: the format on disk, versions 2 and 3 (QEMU's docs/interop/qcow2.txt). All numbers
 * are big-endian. */
#ifndef BLOCK_QCOW2_FMT_H
#define BLOCK_QCOW2_FMT_H

#include "base/def.h"

#define QCOW2_MAGIC 0x514649fbu

/* Header: offset of each field. */
enum {
	QH_MAGIC = 0,              /* u32 */
	QH_VERSION = 4,            /* u32: 2 or 3 */
	QH_BACKING_OFF = 8,        /* u64: of the backing file's name; 0: none */
	QH_BACKING_LEN = 16,       /* u32: at most 1023 */
	QH_CLUSTER_BITS = 20,      /* u32: 9 to 21 */
	QH_SIZE = 24,              /* u64: bytes of the disk */
	QH_CRYPT = 32,             /* u32: 0 none, 1 AES, 2 LUKS */
	QH_L1_SIZE = 36,           /* u32: entries */
	QH_L1_OFF = 40,            /* u64 */
	QH_REFTABLE_OFF = 48,      /* u64 */
	QH_REFTABLE_CLUSTERS = 56, /* u32 */
	QH_NB_SNAPSHOTS = 60,      /* u32 */
	QH_SNAPSHOTS_OFF = 64,     /* u64 */
	QH_V2_LEN = 72,
	QH_INCOMPAT = 72,       /* u64 */
	QH_COMPAT = 80,         /* u64 */
	QH_AUTOCLEAR = 88,      /* u64 */
	QH_REFCOUNT_ORDER = 96, /* u32: width is 1 << order bits; version 2: 4 */
	QH_HEADER_LEN = 100,    /* u32: where the extensions begin */
	QH_V3_LEN = 104,
	QH_COMPRESSION = 104, /* u8: 0 deflate, 1 zstd; absent: 0 */
	QH_MAX = 65536,       /* we look at no more */
};

#define QI_DIRTY         BIT64(0) /* incompatible features */
#define QI_CORRUPT       BIT64(1)
#define QI_EXTERNAL_DATA BIT64(2)
#define QI_COMPRESSION   BIT64(3)
#define QI_EXTENDED_L2   BIT64(4)
#define QC_LAZY_REFCOUNT BIT64(0) /* compatible */
#define QA_BITMAPS       BIT64(0) /* autoclear */

#define QX_END           0x00000000u
#define QX_BACKING_FMT   0xe2792acau
#define QX_FEATURE_NAMES 0x6803f857u
#define QX_BITMAPS       0x23852875u
#define QX_LUKS          0x0537be77u
#define QX_DATA_FILE     0x44415441u

/* L1, L2 and refcount table entries */
#define QE_COPIED     BIT64(63) /* refcount is exactly 1: may be written in place */
#define QE_COMPRESSED BIT64(62)
#define QE_ZERO       BIT64(0) /* L2, version 3: reads as zeros */
#define QE_OFFSET     UINT64_C(0x00fffffffffffe00)
#define QE_L1_RSVD    UINT64_C(0x7f000000000001ff)
#define QE_L2_RSVD    UINT64_C(0x3f000000000001fe)

#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1_BYTES     (32 * MIB)
#define QCOW2_MAX_RT_BYTES     (8 * MIB)
#define QCOW2_MAX_SNAPSHOTS    65536

/* Snapshot table entry; then extra data, id and name, padded to 8 bytes. */
enum {
	QS_L1_OFF = 0,     /* u64 */
	QS_L1_SIZE = 8,    /* u32 */
	QS_ID_LEN = 12,    /* u16 */
	QS_NAME_LEN = 14,  /* u16 */
	QS_SECONDS = 16,   /* u32: since 1970; then ns, and the guest's clock: u64 */
	QS_EXTRA_LEN = 36, /* u32 */
	QS_LEN = 40,
};

/* Bitmap extension and directory entry; then extra data and name, padded to 8 bytes. */
enum {
	QB_COUNT = 0,    /* u32 */
	QB_DIR_SIZE = 8, /* u64 */
	QB_DIR_OFF = 16, /* u64 */
	QB_LEN = 24,
	QD_TABLE_OFF = 0,  /* u64 */
	QD_TABLE_SIZE = 8, /* u32: entries */
	QD_NAME_LEN = 18,  /* u16 */
	QD_EXTRA_LEN = 20, /* u32 */
	QD_LEN = 24,
};

#endif
