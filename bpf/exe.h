/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Keeps the names of the files that are executed. A subject has an id of the name, which
 * is eight bytes instead of 256. The id is a keyed hash of the name, so files with the
 * same name share an id, and ids need not follow files that are renamed, deleted or
 * linked.
 */
#ifndef EXE_H
#define EXE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"

/* Whether a view, a watch, a filter or a column uses exe. Set before load. */
const volatile __u8 with_exe = 0;

/* The key of the hash. It is random and secret, so that nobody can give two files names
 * with the same id. Set before load. */
const volatile __u64 exe_key[2] = {};

/* Names by id. An LRU map, so that a new name always finds room. User space sets its
 * size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct exe_name);
} exe_names SEC(".maps");

#define ROTATED(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

struct siphash {
	__u64 a, b, c, d;
};

static __always_inline void siphash_round(struct siphash *v)
{
	v->a += v->b;
	v->c += v->d;
	v->b = ROTATED(v->b, 13) ^ v->a;
	v->d = ROTATED(v->d, 16) ^ v->c;
	v->a = ROTATED(v->a, 32) + v->d;
	v->c += v->b;
	v->d = ROTATED(v->d, 21) ^ v->a;
	v->b = ROTATED(v->b, 17) ^ v->c;
	v->c = ROTATED(v->c, 32);
}

/* SipHash-1-3 of the `length` bytes of a name that is padded with NULs. User space
 * calculates the same (src/capture/exe_names.rs). */
static __always_inline __u64 hash_of(const struct exe_name *name, __u64 length)
{
	const __u64 *words = (const __u64 *)name->name;
	struct siphash v = {
		.a = exe_key[0] ^ 0x736f6d6570736575,
		.b = exe_key[1] ^ 0x646f72616e646f6d,
		.c = exe_key[0] ^ 0x6c7967656e657261,
		.d = exe_key[1] ^ 0x7465646279746573,
	};

	for (__u64 i = 0; i < NAME_LEN / sizeof(*words); i++) {
		bool is_last = i == length / sizeof(*words);
		__u64 word = is_last ? words[i] | length << 56 : words[i];

		v.d ^= word;
		siphash_round(&v);
		v.a ^= word;
		if (is_last)
			break;
	}
	v.c ^= 0xff;
	siphash_round(&v);
	siphash_round(&v);
	siphash_round(&v);
	return v.a ^ v.b ^ v.c ^ v.d;
}

/* Return the id of the name of a file, and keep the name under it. A rename at this
 * moment can yield a mix of both names. Whoever renames the file could have given it that
 * name as well. */
static __noinline __u64 name_exe(struct dentry *dentry)
{
	struct exe_name name __attribute__((aligned(8))) = {};
	const unsigned char *from = BPF_CORE_READ(dentry, d_name.name);
	long size = bpf_probe_read_kernel_str(name.name, sizeof(name.name), from);
	__u8 last = 0;
	__u64 id;

	/* Some file systems have longer names than NAME_MAX. */
	if (size == NAME_LEN)
		bpf_probe_read_kernel(&last, 1, from + NAME_LEN - 1);
	if (size <= 1 || last)
		return EXE_UNKNOWN;
	id = hash_of(&name, size - 1);
	/* Ids below EXE_MAX are reserved. Of 10^19 names, one has such a hash. */
	if (id < EXE_MAX)
		return EXE_UNKNOWN;
	/* A name that cannot be kept is unknown to user space. */
	if (!bpf_map_lookup_elem(&exe_names, &id))
		bpf_map_update_elem(&exe_names, &id, &name, BPF_ANY);
	return id;
}

#endif /* EXE_H */
