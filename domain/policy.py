"""Named timeouts and retries, each with its reason. One place to read, one place to change."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """How long one attempt may take, how soon it must be heard of, and when to give up."""

    attempt: timedelta
    attempts: int | None = None  # None is unlimited
    heartbeat: timedelta | None = None
    total: timedelta | None = None
    first_pause: timedelta = timedelta(milliseconds=200)
    longest_pause: timedelta = timedelta(seconds=30)
    patience: timedelta | None = None  # with a provider that asks for a pause itself; None is no limit


# Someone waits for an answer: a quota of so many calls a minute is waited for, one of so many a day is not.
_CHAT_PATIENCE = timedelta(seconds=60)

# A query embedding is one short call; five attempts bridge a provider's hiccup within a minute.
RETRIEVE = Policy(
    attempt=timedelta(seconds=10), attempts=5, longest_pause=timedelta(seconds=5), patience=_CHAT_PATIENCE
)

# A summary is a short text, and the turn goes on without it where it fails: someone is waiting.
SUMMARIZE = Policy(
    attempt=timedelta(seconds=30),
    attempts=2,
    heartbeat=timedelta(seconds=15),
    longest_pause=timedelta(seconds=2),
    patience=timedelta(seconds=10),
)

# One short call that is given up after ten seconds; the question is then searched for as it was asked.
UNDERSTAND = Policy(attempt=timedelta(seconds=30), attempts=2, heartbeat=timedelta(seconds=15))

# Both in one step; its search may take as long as the one of `RETRIEVE`. From the third attempt on no model is asked.
UNDERSTAND_AND_RETRIEVE = Policy(
    attempt=UNDERSTAND.attempt,
    attempts=RETRIEVE.attempts,
    heartbeat=UNDERSTAND.heartbeat,
    longest_pause=RETRIEVE.longest_pause,
    patience=_CHAT_PATIENCE,
)

# As understanding, but for what is stored at its end: without it there is nothing to answer from.
RERANK = Policy(attempt=timedelta(seconds=30), attempts=5, heartbeat=timedelta(seconds=15))

# Beside the answer, which does not wait for a title longer than `domain.titles` says: a dead worker's is taken over as
# soon as its answer is.
TITLE = Policy(
    attempt=timedelta(seconds=20), attempts=2, heartbeat=timedelta(seconds=15), patience=timedelta(seconds=5)
)

# A slow server writes for many minutes, and an answer that was cut off would be paid for again. Who stops living is
# noticed sooner: a worker by its heartbeat, since someone is waiting, a provider by its silence.
GENERATE = Policy(
    attempt=timedelta(hours=1),
    attempts=3,
    heartbeat=timedelta(seconds=15),
    longest_pause=timedelta(seconds=5),
    patience=_CHAT_PATIENCE,
)

# A tool has limits of its own, lower ones; what it says of itself is a result, so that only a server of ours that
# is away, or a provider's hiccup, is tried again. After that the model is told.
TOOL = Policy(
    attempt=timedelta(minutes=2),
    attempts=3,
    heartbeat=timedelta(seconds=15),
    longest_pause=timedelta(seconds=5),
    patience=_CHAT_PATIENCE,
)

# The subprocess has its own, lower limits; this one only catches a worker that stopped living.
EXTRACT = Policy(attempt=timedelta(minutes=15), attempts=3, heartbeat=timedelta(seconds=30))

# Splitting is pure and fast (60 ms for 300 pages), so it is a local step; a long one only holds a slot.
CHUNK = Policy(attempt=timedelta(minutes=5), attempts=3)

# A saturated provider is waited for: what is stored is kept. A quota of the day resets within 24 hours; only
# after that a person is asked.
# One attempt embeds a shard of some 500 chunks; a dead worker's shard is taken over after 20 s.
EMBED = Policy(
    attempt=timedelta(minutes=30),
    heartbeat=timedelta(seconds=20),
    total=timedelta(hours=30),
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(minutes=5),
)

# A few small files of one site; a server that asks for a longer pause than this is not waited for.
SURVEY = Policy(
    attempt=timedelta(minutes=5),
    attempts=4,
    heartbeat=timedelta(seconds=30),
    first_pause=timedelta(seconds=2),
    longest_pause=timedelta(seconds=30),
    patience=timedelta(minutes=2),
)

# What a page does is written into its row; the step itself fails only where a server of ours is away, so it is
# tried for hours. A dead worker's pages are taken over after 30 s, those that were under way are fetched again.
FETCH = Policy(
    attempt=timedelta(minutes=15),
    heartbeat=timedelta(seconds=30),
    total=timedelta(hours=6),
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(minutes=1),
)
# Thousands of files are written one by one; what is unpacked stays, so that another attempt goes on there.
UNPACK = Policy(attempt=timedelta(hours=2), attempts=5, heartbeat=timedelta(seconds=30))

# As for embedding: each page is stored as it is read, a saturated provider is waited for, and a dead worker's
# pages are taken over after 20 s. An attempt is some twenty pages.
RECOGNIZE = Policy(
    attempt=timedelta(minutes=30),
    heartbeat=timedelta(seconds=20),
    total=EMBED.total,
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(minutes=5),
)

# Milliseconds of database work that must happen: short attempts, no end.
DATABASE = Policy(attempt=timedelta(seconds=10), first_pause=timedelta(milliseconds=100))

# Deleting blobs and rows of a large document takes longer, and must happen as well.
PURGE = Policy(attempt=timedelta(minutes=5), heartbeat=timedelta(seconds=30))

# Asking Temporal about many runs; the Schedule comes again, so a failure may pass. No tick begins while one is under
# way: one whose worker died, or that was lost on its way there, is taken over after 15 s.
HOUSEKEEPING = Policy(attempt=timedelta(minutes=2), attempts=3, heartbeat=timedelta(seconds=15))

# An index over a million vectors takes an hour, and waits for whoever builds another; a dead worker's is begun anew
# after 30 s. What cannot be built for a day is given up until housekeeping asks again.
INDEX = Policy(
    attempt=timedelta(hours=6),
    heartbeat=timedelta(seconds=30),
    total=timedelta(hours=24),
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(minutes=1),
)
