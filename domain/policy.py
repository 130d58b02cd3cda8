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

# A long answer takes minutes; a silent worker is given up after 15 s, since someone is waiting.
GENERATE = Policy(
    attempt=timedelta(minutes=5),
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

# Asking Temporal about many runs; the Schedule comes again, so a failure may pass.
HOUSEKEEPING = Policy(attempt=timedelta(minutes=2), attempts=3)
