/*
 * How execsnoopd counts, as a model for spin (https://spinroot.com). `model/run` checks every
 * sequence of steps within the bounds below. docs/exactness.md says what this proves, and what it
 * assumes.
 *
 * Two CPUs execute N programs each, and the BPF programs observe them. The daemon reads, counts
 * and saves, and is killed or stopped at any step. A successor adopts the objects (BPF programs
 * and their maps) in the store, or replaces them by its own. A comment names the function that a
 * step stands for. Whatever is between two semicolons can happen between any two steps of the
 * others; d_step and atomic join what is one step for the others.
 *
 * Sets of execs are bit masks, with a bit for each exec, so that the model knows which exec is
 * counted where. The protocol uses their numbers only (COUNT).
 *
 * -DMISTAKE=... builds one of the mistakes into the protocol. spin must find each of them.
 */
#define NONE		  0
#define SEEN_FIRST	  1  /* copy `seen` before the other fields of a ledger */
#define ONE_DRAIN	  2  /* end a flush after one drain */
#define NO_WAIT_AT_SWAP	  3  /* read the tally that was swapped out without a grace period */
#define SAVE_BEFORE_COUNT 4  /* save how many were delivered before they are counted */
#define SAVE_BEFORE_TAKE  5  /* count and save the tally before it is emptied */
#define SHOW_BEFORE_SAVE  6  /* answer a scrape before the counts in the answer are saved */
#define ONE_SLOT	  7  /* save over what was saved last */
#define ADOPT_UNPAUSED	  8  /* adopt without setting the flag */
#define ADOPT_ONE_LEDGER  9  /* with the flag set, use the same ledger and tally as without */
#define ADOPT_IN_FLIGHT	  10 /* set the flag, but do not wait for programs that have not seen it */
#define ADOPT_ONE_TALLY	  11 /* forget the tally that the predecessor was emptying */
#define FORGET_LOST	  12 /* continue without what the predecessor lost: a flush never ends */
#define STOP_UNPAUSED	  13 /* stop without setting the flag */
#define STOP_UNDRAINED	  14 /* stop without a last drain */
#define OVERLAP		  15 /* replace: attach the new programs before detaching the old ones */
#define SILENT_GAP	  16 /* replace: save only afterwards that nothing is attached */
#define REPLACE_IN_FLIGHT 17 /* replace: do not wait for old programs that still run */
#define FOLD_TWICE	  18 /* replace: save the old counts, but not that the object is closed */
#define LATE_LINKS	  19 /* replace: answer scrapes before the new links are in the store */
#ifndef MISTAKE
#define MISTAKE NONE
#endif

#define CPUS 2
#ifndef N
#define N 2 /* execs on CPU 0 */
#endif
#ifndef M
#define M N /* execs on CPU 1 */
#endif
#define EXECS(c) (c == 0 -> N : M)
#ifndef RESTARTS
#define RESTARTS 2 /* kills and stops */
#endif
#define OBJECTS 3 /* one of each process */

#define COUNT(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1) + ((m) >> 5 & 1))
#define BIT(n) (1 << (n))
#define FIRST(m) ((m) & 1 -> 0 : ((m) & 2 -> 1 : 2))
#define OF_CPU(c) ((BIT(N) - 1) << (c) * N)
#define ALL (BIT(2 * N) - 1)

/* The values of an object's flag. Each selects a ledger. */
#define LIVE	 0
#define HANDOVER 1
/* With the flag LIVE, programs overflow to the tally in use, which is 0 or 1. With HANDOVER, they
 * count in this one only. */
#define TALLY_OF_HANDOVER 2
#define TALLIES 3

typedef object {
	byte seen[2];
	byte unattributed[2];
	byte tallied;
	byte buffer;		/* one event per CPU, or, if the ring buffer is used, one event */
	byte tally[TALLIES];	/* one entry each, with the execs that it counts */
	byte subject[TALLIES];	/* the key of this entry; 0 if there is none */
	byte in_use;
	bit flag;
	bool has_buffer
};
object objects[OBJECTS];

/* Sets of objects. */
byte attached, maps_in_store, links_in_store;

typedef counts {
	byte named;			/* the execs that are counted by name */
	byte lost;			/* unattributed execs that are in no ledger of the kernel */
	byte accounted[2 * OBJECTS];	/* the execs that are counted, by ledger */
	byte closed;			/* the objects whose maps are no longer needed */
	bool gap			/* whether the unobserved time is running */
};
#define ACCOUNTED(o, set) accounted[2 * (o) + (set)]
counts slots[2];	/* the memfd */
bit newest;		/* the valid slot with the highest generation */
bool valid[2];

/* What the assertions need to know. */
byte executed, completed, unobserved, shown_named, shown_total;

bool in_program[CPUS], awaited[CPUS], calm;
byte cpus_running = CPUS, restarts;
bool kill, finished, stopped_well;

#ifdef RING
#define RING_OR_CPU(c) ALL
#else
#define RING_OR_CPU(c) OF_CPU(c)
#endif
#if MISTAKE == ADOPT_ONE_LEDGER
#define SET LIVE
#else
#define SET flag
#endif

/* ---- the kernel: bpf/execsnoop.bpf.c, bpf/ledger.h */

#define ADD(where) where = where | event

/* count_in_tally(). `map` becomes TALLIES if the tally is full. */
inline count_in_tally(o)
{
	d_step { /* two look-ups */
		map = (SET == HANDOVER -> TALLY_OF_HANDOVER : objects[o].in_use);
		found = (objects[o].subject[map] == subject)
	};
	if
	:: found
	:: else ->
		d_step { /* insert() */
			if
			:: objects[o].subject[map] == 0 ->
				objects[o].subject[map] = subject;
				ADD(objects[o].tally[map])
			:: objects[o].subject[map] == subject -> found = true /* EEXIST */
			:: else -> map = TALLIES
			fi
		}
	fi;
	if
	:: d_step { found -> /* The count of an entry that was deleted is never read. */
			if
			:: objects[o].subject[map] == subject -> ADD(objects[o].tally[map])
			:: else
			fi;
			found = false
		}
	:: else
	fi
}

/* The program of an object: observe_exec_typed() */
inline observe_exec(o)
{
	flag = objects[o].flag;
	ADD(objects[o].seen[SET]); /* count_seen() */
	if
	:: d_step { flag == LIVE && objects[o].has_buffer && !(objects[o].buffer & RING_OR_CPU(c)) ->
			ADD(objects[o].buffer) /* emit() */
		}
	:: else -> /* overflow() */
		count_in_tally(o);
		d_step {
			if
			:: map == TALLIES -> ADD(objects[o].unattributed[SET])
			:: map < TALLY_OF_HANDOVER -> ADD(objects[o].tallied)
			:: else
			fi;
			map = 0
		}
	fi
}

proctype cpu(byte c)
{
	byte i, o, event, programs, map, subject;
	bit flag;
	bool found;

	if
	:: subject = c + 1
	:: RESTARTS == 0 -> subject = 1 /* of both CPUs; otherwise there are too many states */
	fi;
	do
	:: d_step { i < EXECS(c) && !in_program[c] ->
			/* exec_binprm() calls the programs that are attached current. */
			event = BIT(c * N + i);
			executed = executed | event;
			in_program[c] = true;
			calm = false;
			programs = attached;
			if
			:: programs == 0 ->
				assert(slots[newest].gap);
				unobserved = unobserved | event
			:: else -> o = FIRST(programs)
			fi
		}
	:: in_program[c] && programs ->
		observe_exec(o);
		d_step {
			programs = programs & ~BIT(o);
			o = (programs -> FIRST(programs) : 0);
			flag = 0
		}
	:: d_step { in_program[c] && !programs ->
			in_program[c] = false;
			awaited[c] = false;
			completed = completed | event;
			event = 0;
			i++
		}
	:: i == EXECS(c) -> break
	od;
	atomic { i = 0; subject = 0; cpus_running-- }
}

/* The kernel waits for every program that runs now: maybe_wait_bpf_programs() in
 * kernel/bpf/syscall.c. */
#define GRACE_PERIOD_BEGINS awaited[0] = in_program[0]; awaited[1] = in_program[1]
#define GRACE_PERIOD_ENDS !awaited[0] && !awaited[1]

/* ---- the store and the memfd */

inline clear(c)
{
	c.named = 0; c.lost = 0; c.closed = 0; c.gap = false;
	c.accounted[0] = 0; c.accounted[1] = 0; c.accounted[2] = 0;
	c.accounted[3] = 0; c.accounted[4] = 0; c.accounted[5] = 0
}

inline copy(to, from)
{
	to.named = from.named; to.lost = from.lost; to.closed = from.closed; to.gap = from.gap;
	to.accounted[0] = from.accounted[0]; to.accounted[1] = from.accounted[1];
	to.accounted[2] = from.accounted[2]; to.accounted[3] = from.accounted[3];
	to.accounted[4] = from.accounted[4]; to.accounted[5] = from.accounted[5]
}

/* A slot is invalid while it is written, so that a kill leaves the other one. */
#if MISTAKE == ONE_SLOT
#define SAVE_BEGINS valid[newest] = false
inline save_ends()
{
	copy(slots[newest], current);
	valid[newest] = true
}
#else
#define SAVE_BEGINS valid[1 - newest] = false
inline save_ends()
{
	copy(slots[1 - newest], current);
	valid[1 - newest] = true;
	newest = 1 - newest;
	clear(slots[1 - newest]) /* fewer states: it is not read again */
}
#endif
inline save()
{
	d_step { SAVE_BEGINS };
	d_step { save_ends() }
}

/* ---- the daemon. Its threads are one process here: only the reader reads, only the aggregator
 * counts, and the channel between them keeps the order. What was taken and not yet counted dies
 * with the process, as does what was counted and not yet saved, so taking and counting are one
 * step. */

/* Aggregator::count(): no exec is counted by name twice. */
inline count(o, set, which)
{
	assert(!(current.named & (which)));
	current.named = current.named | (which);
	current.ACCOUNTED(o, set) = current.ACCOUNTED(o, set) + COUNT(which)
}

/* Tally::drain(): takes all entries of a tally. */
inline take_tally(o, map, set)
{
#if MISTAKE == SAVE_BEFORE_TAKE
	d_step { count(o, set, objects[o].tally[map]) };
	save();
#elif MISTAKE == SAVE_BEFORE_COUNT
	d_step { current.ACCOUNTED(o, set) = current.ACCOUNTED(o, set) + COUNT(objects[o].tally[map]) };
	save();
	d_step { current.ACCOUNTED(o, set) = current.ACCOUNTED(o, set) - COUNT(objects[o].tally[map]); count(o, set, objects[o].tally[map]) };
#endif
	d_step {
#if MISTAKE != SAVE_BEFORE_TAKE && MISTAKE != SAVE_BEFORE_COUNT
		count(o, set, objects[o].tally[map]);
#endif
		objects[o].tally[map] = 0;
		objects[o].subject[map] = 0
	}
}

/* Reader::drain_events(): events that are younger than the beginning of the drain are held back. */
#define TAKE(o, which) held_back = held_back | (objects[o].buffer & (which)); objects[o].buffer = objects[o].buffer & ~(which)
inline drain_events(o)
{
#ifndef RING
	d_step { began = executed; TAKE(o, OF_CPU(0)) };
	d_step { TAKE(o, OF_CPU(1));
#else
	d_step { began = executed; TAKE(o, ALL);
#endif
		count(o, LIVE, held_back & began);
		held_back = held_back & ~began;
		began = 0
	}
}

/* Reader::drain(), Reader::drain_tally(). The ledgers of the CPUs are read one after the other. */
inline drain(o)
{
	drain_events(o);
	d_step { sum_tallied = COUNT(objects[o].tallied & OF_CPU(0)) };
	if
	:: d_step { sum_tallied + COUNT(objects[o].tallied & OF_CPU(1)) > tallied ->
			sum_tallied = 0;
			objects[o].in_use = 1 - objects[o].in_use;
			GRACE_PERIOD_BEGINS
		};
#if MISTAKE != NO_WAIT_AT_SWAP
		GRACE_PERIOD_ENDS;
#endif
		d_step { tallied = tallied + COUNT(objects[o].tally[1 - objects[o].in_use]) };
		take_tally(o, 1 - objects[o].in_use, LIVE)
	:: d_step { else -> sum_tallied = 0 }
	fi
}

/* Capture::ledgers(): one CPU after the other, and of each CPU `seen` last. */
#define SEEN(o, c) sum_seen = sum_seen + COUNT((objects[o].seen[LIVE] | objects[o].seen[HANDOVER]) & OF_CPU(c))
#define UNATTRIBUTED(o, c) sum_unattributed = sum_unattributed + COUNT((objects[o].unattributed[LIVE] | objects[o].unattributed[HANDOVER]) & OF_CPU(c))
#if MISTAKE == SEEN_FIRST
#define FIRST_FIELD SEEN
#define LAST_FIELD  UNATTRIBUTED
#else
#define FIRST_FIELD UNATTRIBUTED
#define LAST_FIELD  SEEN
#endif

/* Reader::flush(). The aggregator answers it by a snapshot, which is saved before anybody sees it. */
inline flush(o)
{
	d_step { requested = completed; SEEN(o, 0) };
	d_step { SEEN(o, 1); before = sum_seen; sum_seen = 0 };
	do
	:: d_step { calm = !in_program[0] && !in_program[1] };
		drain(o);
		d_step { FIRST_FIELD(o, 0) };
		d_step { LAST_FIELD(o, 0) };
		d_step { FIRST_FIELD(o, 1) };
		d_step { LAST_FIELD(o, 1);
			complete = (current.ACCOUNTED(o, LIVE) + current.ACCOUNTED(o, HANDOVER) + sum_unattributed >= before);
			/* What is missing is on its way. */
			assert(complete || !calm);
			calm = false
		};
		if
		:: complete -> break
#if MISTAKE == ONE_DRAIN
		:: else -> break
#else
		:: d_step { else -> sum_seen = 0; sum_unattributed = 0 }
#endif
		fi
	od;
#if MISTAKE == SHOW_BEFORE_SAVE
	atomic { publish(o) };
	save()
#else
	atomic { SAVE_BEGINS };
	d_step { save_ends(); publish(o) }
#endif
}

#define IF_CLOSED(o) (current.closed & BIT(o) -> current.ACCOUNTED(o, LIVE) + current.ACCOUNTED(o, HANDOVER) : 0)
#define SEEN_BY_CLOSED (IF_CLOSED(0) + IF_CLOSED(1) + IF_CLOSED(2))
#define TOTAL (COUNT(current.named) + current.lost + sum_unattributed)

/* Aggregator::snapshot() */
inline publish(o)
{
	/* The ledger closes. */
	assert(SEEN_BY_CLOSED + before <= TOTAL);
	assert(SEEN_BY_CLOSED + sum_seen >= TOTAL);
	/* Every exec that completed before the request is in the answer, if the model knows which
	 * ones are counted. */
	assert(current.lost || unobserved ||
	       !(requested & ~(current.named | objects[o].unattributed[LIVE] | objects[o].unattributed[HANDOVER])));
	/* No counter goes down. */
	assert(!(shown_named & ~current.named));
	assert(shown_total <= TOTAL);
	shown_named = current.named;
	shown_total = TOTAL;
	before = 0; requested = 0; complete = false; sum_seen = 0; sum_unattributed = 0
}

/* After a kill or a stop: what a ledger has seen, and is not counted, was lost with the
 * predecessor. No program uses the ledger current. */
inline reconcile(o, set)
{
	d_step {
		missing = COUNT(objects[o].seen[set]) - COUNT(objects[o].unattributed[set]) - current.ACCOUNTED(o, set);
		assert(missing >= 0);
		/* What counts as lost cannot be counted later. */
		assert(!objects[o].tally[TALLY_OF_HANDOVER] || set == LIVE);
		assert(!(objects[o].buffer | objects[o].tally[0] | objects[o].tally[1]) || set == HANDOVER);
		/* After a graceful stop, nothing is without a name. */
		assert(missing == 0 || !stopped_well);
		current.lost = current.lost + missing;
#if MISTAKE != FORGET_LOST
		current.ACCOUNTED(o, set) = current.ACCOUNTED(o, set) + missing;
#endif
		missing = 0
	}
}

/* Takes what is left in the buffer and in the tallies of an object that no program uses with the
 * flag LIVE any more. */
inline drain_frozen(o)
{
	drain_events(o);
#if MISTAKE != ADOPT_ONE_TALLY
	take_tally(o, 1 - objects[o].in_use, LIVE);
#endif
#if MISTAKE == ADOPT_ONE_LEDGER
	d_step { objects[o].in_use = 1 - objects[o].in_use; GRACE_PERIOD_BEGINS };
	GRACE_PERIOD_ENDS;
	take_tally(o, 1 - objects[o].in_use, LIVE)
#else
	take_tally(o, objects[o].in_use, LIVE)
#endif
}

/* The object goes on, with its programs attached. */
inline adopt(o)
{
#if MISTAKE != ADOPT_UNPAUSED
	objects[o].flag = HANDOVER;
#endif
#if MISTAKE == ADOPT_ONE_LEDGER
	/* Each ledger balances: no program is in flight. */
	!in_program[0];
	!in_program[1];
#elif MISTAKE != ADOPT_IN_FLIGHT
	d_step { GRACE_PERIOD_BEGINS };
	GRACE_PERIOD_ENDS;
#endif
	drain_frozen(o);
	reconcile(o, LIVE);
	d_step { tallied = COUNT(objects[o].tallied); objects[o].has_buffer = true };
	objects[o].flag = LIVE;
	d_step { GRACE_PERIOD_BEGINS };
	GRACE_PERIOD_ENDS;
	take_tally(o, TALLY_OF_HANDOVER, HANDOVER);
	reconcile(o, HANDOVER)
}

#define DETACH d_step { attached = attached & BIT(restarts); links_in_store = 0 }
#define ATTACH d_step { objects[restarts].has_buffer = true; attached = attached | BIT(restarts) }

/* The programs of this process take over, with maps of their own. */
inline replace()
{
	d_step { current.gap = true };
#if MISTAKE != SILENT_GAP
	save();
#endif
	d_step { maps_in_store = maps_in_store | BIT(restarts) };
#if MISTAKE == OVERLAP
	ATTACH;
	DETACH;
#else
	DETACH;
	ATTACH;
#endif
#if MISTAKE != LATE_LINKS
	d_step { links_in_store = BIT(restarts) };
#endif
	d_step { current.gap = false; object_in_use = restarts }
}

/* The counts of an object without programs become part of what is saved. */
inline fold(o)
{
#if MISTAKE != REPLACE_IN_FLIGHT
	d_step { GRACE_PERIOD_BEGINS };
	GRACE_PERIOD_ENDS;
#endif
	drain_frozen(o);
	take_tally(o, TALLY_OF_HANDOVER, HANDOVER);
	reconcile(o, LIVE);
	reconcile(o, HANDOVER);
	d_step {
		current.lost = current.lost + COUNT(objects[o].unattributed[LIVE]) + COUNT(objects[o].unattributed[HANDOVER]);
		current.ACCOUNTED(o, LIVE) = current.ACCOUNTED(o, LIVE) + COUNT(objects[o].unattributed[LIVE]);
		current.ACCOUNTED(o, HANDOVER) = current.ACCOUNTED(o, HANDOVER) + COUNT(objects[o].unattributed[HANDOVER])
	};
#if MISTAKE == FOLD_TWICE
	save();
#endif
	d_step { current.closed = current.closed | BIT(o); SAVE_BEGINS };
	d_step { save_ends() }
}

inline fold_others()
{
	do
	:: atomic { maps_in_store != BIT(object_in_use) ->
		old = maps_in_store & ~BIT(object_in_use);
		old = (old & 1 -> 0 : (old & 2 -> 1 : 2)) };
		if
		:: current.closed & BIT(old)
		:: else -> fold(old)
		fi;
		d_step { maps_in_store = maps_in_store & ~BIT(old); old = 0 }
	:: else -> break
	od
}

inline stop(o)
{
#if MISTAKE != STOP_UNPAUSED
	objects[o].flag = HANDOVER;
	d_step { GRACE_PERIOD_BEGINS };
	GRACE_PERIOD_ENDS;
#endif
#if MISTAKE != STOP_UNDRAINED
	drain(o);
#endif
	save()
}

/* The memory of the process is gone, and the perf buffers with it. What the store holds stays. */
#define LOSE_BUFFER(o) objects[o].has_buffer = false; objects[o].buffer = 0
inline die(well)
{
	attached = attached & links_in_store;
#ifndef RING
	LOSE_BUFFER(0); LOSE_BUFFER(1); LOSE_BUFFER(2);
#endif
	clear(current);
	object_in_use = 0; held_back = 0; began = 0; before = 0; sum_seen = 0;
	sum_unattributed = 0; sum_tallied = 0; tallied = 0; requested = 0; calm = false;
	complete = false; old = 0; missing = 0;
	awaited[0] = false; awaited[1] = false;
	stopped_well = well;
	kill = false;
	restarts++
}

proctype killer()
{
end:	do
	:: atomic { restarts < RESTARTS && !kill && !finished -> kill = true }
	od
}

proctype daemon()
{
	counts current; /* of the aggregator */
	byte object_in_use, old;
	byte held_back, began, requested, before, tallied, sum_seen, sum_unattributed, sum_tallied;
	short missing;
	bool complete;

	do
	:: !finished -> {
		d_step {
			if
			:: valid[newest] -> copy(current, slots[newest])
			:: else -> copy(current, slots[1 - newest])
			fi;
			 object_in_use = (attached & 4 -> 2 : (attached & 2 -> 1 : 0)) };
		if
		:: restarts == 0
		:: restarts > 0 && attached -> d_step { current.gap = false }; adopt(object_in_use); fold_others()
		:: restarts > 0 -> replace(); fold_others()
		fi;
		atomic { stopped_well = false };
		do
		:: true -> flush(object_in_use);
#if MISTAKE == LATE_LINKS
			d_step { links_in_store = BIT(object_in_use) }
#endif
		:: restarts < RESTARTS -> stop(object_in_use); d_step { die(true) }; break
		:: cpus_running == 0 ->
			flush(object_in_use);
			d_step {
				assert(shown_total + COUNT(unobserved) == N + M);
				finished = true
			};
			break
		od }
		unless { d_step { kill -> die(false) } }
	:: finished -> break
	od
}

init
{
	d_step { valid[0] = true; attached = 1; maps_in_store = 1; links_in_store = 1; objects[0].has_buffer = true };
	atomic { run cpu(0); run cpu(1); run killer(); run daemon() }
}
