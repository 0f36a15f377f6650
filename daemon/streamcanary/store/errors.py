"""The errors of the store.

    StoreError
    ├── at start: the daemon does not run
    │   ├── StoreUnwritable    no such directory, no permission, not a database of streamcanary
    │   ├── StoreLocked        another daemon uses the store
    │   └── StoreTooNew        written by a later version
    ├── at start or while running: the daemon continues without it
    │   └── StoreFailing       this read or write failed; a later one may succeed
    │       ├── StoreLost      the data that was written earlier is lost, too
    │       └── StoreRejected  the database rejects the values of this write, and would again
    ├── in another process than the daemon
    │   └── RunsUnreadable     the store cannot be read
    │       └── StoreMissing   there is none
    └── while running with other replicas: what the daemon owned, another owns now
        ├── SessionLost        all of it
        └── LeaseLost          one resource

A corrupt store is no error: it is renamed, and a new one is created in its place.
"""


class StoreError(Exception):
    """The base class. The message is for people: what happened, where, and what to do."""


class StoreUnwritable(StoreError):
    """The store cannot be kept at its path."""


class StoreLocked(StoreError):
    """Another daemon uses the same store."""


class StoreTooNew(StoreError):
    """A later version of streamcanary has written the store, with a schema that this one does not support."""


class StoreFailing(StoreError):
    """A read or write failed: the disk is full, missing or unresponsive, or the store is closed.

    At start, it means that the store could not be opened for such a reason; each write tries to open it again.

    A failed write leaves no changes, with one exception: a write that timed out may still be completed. Writes must
    therefore be idempotent.
    """


class StoreLost(StoreFailing):
    """The file was removed, replaced or renamed as corrupt: each owner of state in memory writes all of it again."""


class StoreRejected(StoreFailing):
    """The database rejects the values of this write, such as a number out of range: repeating it does not help."""


class RunsUnreadable(StoreError):
    """Another process than the daemon cannot read the store."""


class StoreMissing(RunsUnreadable):
    """There is no store: no daemon has run yet, or it has another one."""


class SessionLost(StoreError):
    """The session of this replica has ended, and others may own what it owned: nothing was written."""


class LeaseLost(StoreError):
    """Another replica owns the resource, or has owned it in between: nothing was written."""
