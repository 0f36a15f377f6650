"""What can be wrong with the store.

    StoreError
    ├── at start: the daemon does not run
    │   ├── StoreUnwritable    no such directory, no permission, not a database of ours
    │   ├── StoreLocked        another daemon has it
    │   └── StoreTooNew        written by a later version
    └── at start or while running: the daemon runs on without it
        └── StoreFailing       this read or write did not succeed; a later one may
            └── StoreLost      and what was written before is gone, too

A corrupt store is no error: it is set aside, and a fresh one takes its place.
"""


class StoreError(Exception):
    """Any of the below. The message is for people: what, where, and what would be right."""


class StoreUnwritable(StoreError):
    """The store cannot be kept at its path."""


class StoreLocked(StoreError):
    """Another daemon uses the same store."""


class StoreTooNew(StoreError):
    """A later version of streamcanary has written the store, in a form that this one does not know."""


class StoreFailing(StoreError):
    """A read or write did not succeed: disk full, disk gone, disk silent, or the store is closed.

    At start, it could not be opened for such a reason; that is tried again with each write.

    A write that failed has left nothing behind, with one exception: one that got no answer in time may still be
    made. So what is written must bear being written again.
    """


class StoreLost(StoreFailing):
    """The file was removed, replaced or set aside: whoever has state in memory writes all of it again."""
