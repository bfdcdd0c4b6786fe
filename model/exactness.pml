/*
 * How execsnoopd counts, as a model for spin (https://spinroot.com). `model/run` checks every
 * sequence of steps within the bounds below. docs/exactness.md says what this proves, and what it
 * assumes.
 *
 * Two CPUs execute programs, and the BPF programs observe them. The daemon reads, counts and saves,
 * and is killed or stopped at any step. A successor adopts the object (the BPF programs and their
 * maps) in the store, or replaces it by its own. Comments name the functions that the steps stand
 * for. Each d_step or atomic is one step, and so is each statement outside of them. Between any two
 * steps, the other processes can take any number of steps.
 *
 * Sets of execs are bit masks, so that the assertions know which exec is counted where. The
 * protocol uses only their sizes (COUNT).
 *
 * -DMISTAKE=... builds one of these mistakes into the protocol. spin has to find each of them.
 */
#define NONE		  0
#define SEEN_FIRST	  1  /* copy `seen` before the other fields of a ledger */
#define ONE_DRAIN	  2  /* end a flush after one drain */
#define NO_WAIT_AT_SWAP	  3  /* read the tally that was swapped out without a grace period */
#define SAVE_BEFORE_COUNT 4  /* save a total before its execs are counted by name */
#define SAVE_BEFORE_TAKE  5  /* count and save the tally before it is emptied */
#define SHOW_BEFORE_SAVE  6  /* answer a scrape before the counts in the answer are saved */
#define ONE_SLOT	  7  /* save over what was saved last */
#define SETTLE_AT_ONCE	  8  /* adopt without waiting for a moment in which nothing is in flight */
#define SETTLE_LATE	  9  /* compute what was lost from a later copy of the ledgers */
#define LEFT_TALLY	  10 /* adopt without taking the tally that the predecessor was emptying */
#define FORGET_LOST	  11 /* flush as if what was lost could still arrive */
#define STOP_IN_FLIGHT	  12 /* stop without waiting for programs that still use the perf buffer */
#define STOP_HELD_BACK	  13 /* stop without delivering the events that were held back */
#define STAY_PAUSED	  14 /* adopt programs that a replacement has paused, and leave them so */
#define OVERLAP		  15 /* replace: let the new programs observe before the old ones pause */
#define REPLACE_IN_FLIGHT 16 /* replace: do not wait for old programs that still run */
#define SILENT_GAP	  17 /* replace: pause the old programs without a note of it */
#define FOLD_TWICE	  18 /* replace: save the old counts and the new object one after the other */
#define STORE_LATE	  19 /* replace: save the new object before it is in the store */
#ifndef MISTAKE
#define MISTAKE NONE
#endif

/* The bounds. */
#define CPUS 2
#ifndef N
#define N 2 /* execs on CPU 0 */
#endif
#ifndef M
#define M N /* execs on CPU 1, at most N */
#endif
#ifndef RESTARTS
#define RESTARTS 2 /* kills and stops */
#endif
#define EXECS(c) (c == 0 -> N : M)
#define OBJECTS 3 /* one of each process */

#define COUNT(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1) + ((m) >> 5 & 1))
#define BIT(n) (1 << (n))
#define FIRST(m) ((m) & 1 -> 0 : ((m) & 2 -> 1 : 2))
#define ALL (BIT(2 * N) - 1)
#define OF_CPU(c) ((BIT(N) - 1) << (c) * N)
#ifdef RING
#define BUFFER_OF(c) ALL
#else
#define BUFFER_OF(c) OF_CPU(c)
#endif

typedef object {
	byte seen, sent, tallied, unattributed;	/* the ledgers */
	byte buffer;	/* one event for each CPU, or, with -DRING, one event */
	byte tally[2];	/* one entry each, with the execs that it counts */
	byte subject[2]; /* the key of this entry; 0 if there is none */
	bit in_use;	/* the tally in use */
	bool paused;	/* is_paused */
	bool has_buffer	/* whether the perf buffers of a process are in `events` */
};
object objects[OBJECTS];
byte attached = 1;	/* a set of objects */
bool has_memory = true;	/* whether the perf buffers of a process exist */

byte in_store = 1;	/* a set of objects */
typedef state {
	byte named;	/* the execs that are counted by name */
	byte counted;	/* how many these are */
	byte lost;	/* unattributed execs that are in no ledger */
	byte base_seen, base_unattributed; /* from the ledgers of objects that were replaced */
	byte of_object;	/* the object that this belongs to */
	bool gap	/* whether time is unobserved */
};
state slots[2];		/* the memfd */
bit newest;		/* the slot with the highest generation */
bool valid[2];

/* What the assertions need to know. */
byte executed, completed, unobserved, shown_named, shown_total;
bool calm, stopped_well, is_dropped;

bool in_program[CPUS], awaited[CPUS];
byte cpus_running = CPUS, restarts;
bool kill, finished;

/* ---- the kernel: bpf/execsnoop.bpf.c, bpf/ledger.h */

#define ADD(where) where = where | event
#define TALLY_IS_FULL 2

/* count_in_tally() */
inline count_in_tally(o)
{
	d_step { /* two look-ups */
		map = objects[o].in_use;
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
			:: else -> map = TALLY_IS_FULL
			fi
		}
	fi;
	if
	:: d_step { found -> /* The count of an entry that was deleted is never read. */
			if
			:: objects[o].subject[map] == subject -> ADD(objects[o].tally[map])
			:: else
			fi
		}
	:: else
	fi
}

/* The program of an object: observe_exec_typed() */
inline observe_exec(o)
{
	if
	:: objects[o].paused
	:: else ->
		d_step { ADD(objects[o].seen); observed = true }; /* count_seen() */
#ifdef RING
		found = true;
#else
		found = objects[o].has_buffer;
#endif
		if /* emit(): bpf_perf_event_output(), bpf_ringbuf_output() */
		:: d_step { found && !(objects[o].buffer & BUFFER_OF(c)) ->
				if
				:: has_memory -> ADD(objects[o].buffer)
				:: else
				fi };
			ADD(objects[o].sent)
		:: else -> /* overflow() */
			count_in_tally(o);
			if
			:: map == TALLY_IS_FULL -> ADD(objects[o].unattributed)
			:: else -> ADD(objects[o].tallied)
			fi
		fi
	fi
}

proctype cpu(byte c)
{
	byte i, o, event, programs, map, subject;
	bool found, observed, gap;

	if
	:: subject = c + 1
	:: RESTARTS == 0 -> subject = 1 /* of both CPUs; with restarts, there are too many states */
	fi;
	do
	:: d_step { i < EXECS(c) ->
			/* exec_binprm() calls the programs that are attached now. */
			event = BIT(c * N + i);
			executed = executed | event;
			in_program[c] = true;
			calm = false;
			gap = slots[newest].gap;
			programs = attached;
			o = FIRST(programs)
		};
next:		observe_exec(o);
		d_step {
			map = 0; found = false;
			programs = programs & ~BIT(o);
			if
			:: programs -> o = FIRST(programs)
			:: else ->
				unobserved = (observed -> unobserved : unobserved | event);
				assert(observed || gap || slots[newest].gap);
				in_program[c] = false;
				awaited[c] = false;
				completed = completed | event;
				event = 0; o = 0; gap = false; observed = false;
				i++
			fi
		};
		if
		:: programs -> goto next
		:: else
		fi
	:: i == EXECS(c) -> break
	od;
	atomic { i = 0; subject = 0; cpus_running-- }
}

/* An update of tally_in_use returns when every program that runs now has ended:
 * maybe_wait_bpf_programs() in kernel/bpf/syscall.c. */
#define GRACE_PERIOD_BEGINS awaited[0] = in_program[0]; awaited[1] = in_program[1]
#define GRACE_PERIOD_ENDS !awaited[0] && !awaited[1]

/* ---- the memfd */

inline clear(s)
{
	s.named = 0; s.counted = 0; s.lost = 0; s.base_seen = 0; s.base_unattributed = 0;
	s.of_object = 0; s.gap = false
}

inline copy(to, from)
{
	to.named = from.named; to.counted = from.counted; to.lost = from.lost;
	to.base_seen = from.base_seen; to.base_unattributed = from.base_unattributed;
	to.of_object = from.of_object; to.gap = from.gap
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
inline count(which)
{
	assert(!(current.named & (which)));
	current.named = current.named | (which);
	current.counted = current.counted + COUNT(which)
}

/* Tally::drain(): takes all entries of a tally. */
inline take_tally(o, map)
{
#if MISTAKE == SAVE_BEFORE_TAKE
	d_step { count(objects[o].tally[map]) };
	save();
#elif MISTAKE == SAVE_BEFORE_COUNT
	d_step { current.counted = current.counted + COUNT(objects[o].tally[map]) };
	save();
	d_step { current.counted = current.counted - COUNT(objects[o].tally[map]); count(objects[o].tally[map]) };
#endif
	d_step {
#if MISTAKE != SAVE_BEFORE_TAKE && MISTAKE != SAVE_BEFORE_COUNT
		count(objects[o].tally[map]);
#endif
		objects[o].tally[map] = 0;
		objects[o].subject[map] = 0
	}
}

/* Reader::drain_events(): events that are younger than the beginning of the drain are held back,
 * except while settling or stopping. */
#if MISTAKE == STOP_HELD_BACK
#define BEGAN (continues -> ALL : executed)
#else
#define BEGAN (stopping || continues -> ALL : executed)
#endif
#define TAKE(o, which) held_back = held_back | (objects[o].buffer & (which)); objects[o].buffer = objects[o].buffer & ~(which)
inline drain_events(o)
{
#ifndef RING
	d_step { began = BEGAN; TAKE(o, OF_CPU(0)) };
	d_step { TAKE(o, OF_CPU(1));
#else
	d_step { began = BEGAN };
	d_step { TAKE(o, ALL);
#endif
		count(held_back & began);
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
		take_tally(o, 1 - objects[o].in_use)
	:: d_step { else -> sum_tallied = 0 }
	fi
}

/* Capture::ledgers(): one CPU after the other, and of each CPU `seen` last. */
#define SEEN(o, c)	   sum_seen = sum_seen + COUNT(objects[o].seen & OF_CPU(c))
#define UNATTRIBUTED(o, c) sum_unattributed = sum_unattributed + COUNT(objects[o].unattributed & OF_CPU(c))
#define ACCOUNTED(o, c)	   sum_accounted = sum_accounted + COUNT((objects[o].sent | objects[o].tallied | objects[o].unattributed) & OF_CPU(c))
#if MISTAKE == SEEN_FIRST
#define FIRST_FIELD SEEN
#define LAST_FIELD  UNATTRIBUTED
#else
#define FIRST_FIELD UNATTRIBUTED
#define LAST_FIELD  SEEN
#endif

/* Reader::settle(). In a moment in which no program is in flight, everything that is neither counted
 * nor unattributed nor in the tally was lost by the predecessor. */
inline settle(o)
{
	d_step { sum_tallied = COUNT(objects[o].tallied & OF_CPU(0)); ACCOUNTED(o, 0); UNATTRIBUTED(o, 0); SEEN(o, 0) };
	d_step { sum_tallied = sum_tallied + COUNT(objects[o].tallied & OF_CPU(1)); ACCOUNTED(o, 1); UNATTRIBUTED(o, 1); SEEN(o, 1) };
	drain_events(o);
	d_step { /* Tally::peek() */
		pending = COUNT(objects[o].tally[0] | objects[o].tally[1]);
		is_quiet = (sum_seen == sum_accounted)
	};
	d_step { sum_accounted = COUNT(objects[o].seen & OF_CPU(0)) };
	d_step {
		sum_accounted = sum_accounted + COUNT(objects[o].seen & OF_CPU(1));
		is_quiet = (is_quiet && sum_seen == sum_accounted);
#if MISTAKE == SETTLE_AT_ONCE
		is_quiet = true;
#endif
		assert(is_quiet || !calm);
		tallied = (is_quiet -> sum_tallied - pending : tallied);
		continues = !is_quiet;
		sum_accounted = 0; sum_tallied = 0
	};
#if MISTAKE == SETTLE_LATE
	d_step { is_late = is_quiet; sum_seen = 0; sum_unattributed = 0; is_quiet = false }
#else
	if
	:: is_quiet -> d_step { settled(o); sum_seen = 0; sum_unattributed = 0; is_quiet = false }
	:: else -> d_step { sum_seen = 0; sum_unattributed = 0; pending = 0 }
	fi
#endif
}

/* Totals::settle() */
inline settled(o)
{
	missing = current.base_seen + sum_seen - current.base_unattributed - sum_unattributed;
	missing = missing - current.counted - current.lost - pending;
	assert(missing >= 0);
	/* After a graceful stop, every exec has its name. */
	assert(missing == 0 || !stopped_well);
	current.lost = current.lost + missing;
	missing = 0; pending = 0
}

#if MISTAKE == FORGET_LOST
#define DELIVERED current.counted
#else
#define DELIVERED (current.counted + current.lost)
#endif

/* Reader::flush(). The aggregator answers it by a snapshot, which is saved before anybody sees it. */
inline flush(o)
{
	d_step { requested = completed; before = COUNT(objects[o].seen & OF_CPU(0)) };
	d_step { before = before + COUNT(objects[o].seen & OF_CPU(1)) };
	do
	:: d_step { calm = !in_program[0] && !in_program[1] };
		drain(o);
		if
		:: continues -> settle(o)
		:: else
		fi;
		d_step { FIRST_FIELD(o, 0) };
		d_step { LAST_FIELD(o, 0) };
		d_step { FIRST_FIELD(o, 1) };
		d_step { LAST_FIELD(o, 1);
			complete = (DELIVERED + current.base_unattributed + sum_unattributed >= current.base_seen + before);
			complete = complete && !continues;
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
#if MISTAKE == SETTLE_LATE
	if
	:: is_late -> d_step { settled(o); is_late = false }
	:: else
	fi;
#endif
#if MISTAKE == SHOW_BEFORE_SAVE
	atomic { publish(o) };
	save()
#else
	atomic { SAVE_BEGINS };
	d_step { save_ends(); publish(o) }
#endif
}
/* The execs that only a replacement has observed which was killed before it was saved. A successor
 * drops its object, and the time belongs to the gap that is saved. */
#define DROPPED (is_dropped -> objects[1].seen & ~(objects[0].seen | objects[2].seen) : 0)

#define TOTAL (current.counted + current.lost + current.base_unattributed + sum_unattributed)

/* Aggregator::snapshot() */
inline publish(o)
{
	/* The ledger closes, and the names add up. */
	assert(current.base_seen + before <= TOTAL);
	assert(current.base_seen + sum_seen >= TOTAL);
	assert(current.counted == COUNT(current.named));
	/* Every exec that completed before the request is in the answer, if the model knows which
	 * ones are counted. */
	assert(current.lost || unobserved || DROPPED || current.base_unattributed ||
	       !(requested & ~(current.named | objects[o].unattributed)));
	/* No counter goes down. */
	assert(!(shown_named & ~current.named));
	assert(shown_total <= TOTAL);
	shown_named = current.named;
	shown_total = TOTAL;
	before = 0; requested = 0; complete = false; sum_seen = 0; sum_unattributed = 0
}

/* Capture::adopt(): the object goes on. */
inline adopt(o)
{
	d_step { objects[o].has_buffer = true; has_memory = true };
	d_step {
#if MISTAKE != STAY_PAUSED
		objects[o].paused = false;
#endif
		current.gap = false; continues = true;
		GRACE_PERIOD_BEGINS
	}
#if MISTAKE != LEFT_TALLY
	GRACE_PERIOD_ENDS;
	take_tally(o, 1 - objects[o].in_use)
#endif
}

/* Replacement::complete(): the programs of this process take over, with maps of their own. The
 * daemon does not save `gap` before it pauses the old ones: since when they are paused is in their
 * own memory, which survives the process like what is saved. */
inline replace(old)
{
#if MISTAKE != SILENT_GAP
	d_step { current.gap = true; SAVE_BEGINS };
	d_step { save_ends() };
#endif
	d_step {
		continues = true;
		objects[restarts].has_buffer = true; has_memory = true;
		objects[restarts].paused = true;
		attached = attached | BIT(restarts)
	};
#if MISTAKE != STORE_LATE
	in_store = in_store | BIT(restarts);
#endif
#if MISTAKE == OVERLAP
	objects[restarts].paused = false;
#endif
	d_step { objects[old].paused = true; objects[old].in_use = 1 - objects[old].in_use; GRACE_PERIOD_BEGINS };
#if MISTAKE != REPLACE_IN_FLIGHT
	GRACE_PERIOD_ENDS;
#endif
	take_tally(old, 1 - objects[old].in_use);
	objects[restarts].paused = false;
	take_tally(old, objects[old].in_use);
	drain_events(old);
	d_step { /* base_after() */
		current.base_seen = current.base_seen + COUNT(objects[old].seen);
		current.base_unattributed = current.base_unattributed + COUNT(objects[old].unattributed);
		current.gap = false
	};
#if MISTAKE == FOLD_TWICE
	save();
#endif
	d_step { current.of_object = restarts; SAVE_BEGINS };
	d_step { save_ends() };
	d_step { in_store = BIT(restarts); attached = BIT(restarts) }
}

/* The memory of the process is gone, and the perf buffers with it. What the store holds stays. */
#define LOSE_BUFFER(o) objects[o].has_buffer = false; objects[o].buffer = 0
inline die(well)
{
	attached = attached & in_store;
#ifndef RING
	LOSE_BUFFER(0); LOSE_BUFFER(1); LOSE_BUFFER(2);
	has_memory = false;
#endif
	clear(current);
	mine = 0; held_back = 0; began = 0; before = 0; requested = 0; tallied = 0; pending = 0; missing = 0;
	sum_seen = 0; sum_accounted = 0; sum_unattributed = 0; sum_tallied = 0;
	complete = false; continues = false; stopping = false; is_quiet = false; calm = false;
	awaited[0] = false; awaited[1] = false;
	stopped_well = well;
	kill = false;
	restarts++
}

proctype daemon()
{
	state current;	/* of the aggregator */
	byte mine;	/* the object in use */
	byte held_back, began, before, requested, tallied, pending;
	byte sum_seen, sum_accounted, sum_unattributed, sum_tallied;
	short missing;
	bool complete, continues, stopping, is_quiet;
#if MISTAKE == SETTLE_LATE
	bool is_late;
#endif

	do
	:: !finished -> {
		d_step {
			if
			:: valid[newest] -> copy(current, slots[newest])
			:: else -> copy(current, slots[1 - newest])
			fi;
			/* The state belongs to what is in the store; the rest is dropped. */
			assert(in_store & BIT(current.of_object));
			in_store = BIT(current.of_object);
			attached = BIT(current.of_object);
			mine = current.of_object;
			is_dropped = (is_dropped || (restarts == 2 && mine == 0)) /* object 1 */
		};
		if
		:: restarts == 0
		:: restarts > 0 -> adopt(mine)
		:: restarts > 0 -> replace(mine); mine = restarts
		fi;
		do
		:: true -> flush(mine)
		:: restarts < RESTARTS -> /* Capture::stop() */
			d_step {
				stopping = true;
#ifndef RING
				objects[mine].has_buffer = false;
#endif
				GRACE_PERIOD_BEGINS
			};
#if MISTAKE != STOP_IN_FLIGHT
			GRACE_PERIOD_ENDS;
#endif
			flush(mine);
			d_step { die(true) };
			break
		:: cpus_running == 0 ->
			flush(mine);
			d_step {
				assert(shown_total + COUNT(unobserved | DROPPED) == N + M);
				finished = true
			};
			break
		od }
		unless { d_step { kill -> die(false) } }
	:: finished -> break
	od
}

proctype killer()
{
end:	do
	:: atomic { restarts < RESTARTS && !kill && !finished -> kill = true }
	od
}

init
{
	d_step { valid[0] = true; objects[0].has_buffer = true };
	atomic { run cpu(0); run cpu(1); run killer(); run daemon() }
}
