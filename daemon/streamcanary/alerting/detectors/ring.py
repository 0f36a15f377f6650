"""A window of samples as a ring of buckets: its size does not depend on the number of samples."""

from msgspec import Struct

BUCKETS_PER_WINDOW = 60
"""Number of buckets of a window; its length is exact to one bucket."""


class Bucket(Struct, frozen=True, array_like=True, gc=False):
    """A bucket of a window: its number, counted from the epoch, and the number of good and bad samples in it."""

    number: int
    good: int
    bad: int


class Ring(Struct, frozen=True, array_like=True, gc=False):
    """A window of ``seconds`` as its non-empty buckets, oldest first.

    ``known_counts`` are their sum, so that a sample costs as much in a full window as in an empty one; ``None`` if they
    have not been added up yet.
    """

    seconds: float
    buckets: tuple[Bucket, ...] = ()
    known_counts: tuple[int, int] | None = None

    @property
    def bucket_seconds(self) -> float:
        """The length of a bucket in seconds."""
        return self.seconds / BUCKETS_PER_WINDOW

    @property
    def counts(self) -> tuple[int, int]:
        """The number of bad samples and of all samples in the window."""
        if self.known_counts is not None:
            return self.known_counts
        good = bad = 0
        for bucket in self.buckets:
            good, bad = good + bucket.good, bad + bucket.bad
        return bad, good + bad

    def counts_at(self, now: float) -> tuple[int, int]:
        """Return the number of bad samples and of all samples in the window that ends at ``now`` (epoch seconds)."""
        oldest = int(now // self.bucket_seconds) - BUCKETS_PER_WINDOW
        kept = [bucket for bucket in self.buckets if bucket.number > oldest]
        bad = sum(bucket.bad for bucket in kept)
        return bad, bad + sum(bucket.good for bucket in kept)

    def add(self, *, bad: bool, at: float) -> "Ring":
        """Return the ring with one more sample at ``at`` (seconds since the epoch), without expired buckets.

        Buckets with a later time than ``at`` (the clock was set back) are merged into the current one.
        """
        number, buckets = int(at // (self.seconds / BUCKETS_PER_WINDOW)), self.buckets
        all_bad, total = self.counts
        good, bad_count, begin, end = int(not bad), int(bad), 0, len(buckets)
        while end > 0 and buckets[end - 1].number >= number:
            end -= 1
            good, bad_count = good + buckets[end].good, bad_count + buckets[end].bad
        while begin < end and buckets[begin].number <= number - BUCKETS_PER_WINDOW:
            expired = buckets[begin]
            all_bad, total = all_bad - expired.bad, total - expired.good - expired.bad
            begin += 1
        kept = (*buckets[begin:end], Bucket(number, good, bad_count))
        return Ring(self.seconds, kept, (all_bad + bad, total + 1))

    def without_failures(self) -> "Ring":
        """Return the ring with good samples in place of the bad ones."""
        return Ring(self.seconds, tuple(Bucket(one.number, one.good + one.bad, 0) for one in self.buckets))
