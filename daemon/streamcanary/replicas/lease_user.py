"""The interface of leases to what runs under them: the scheduler of canaries, and alerting."""

from collections.abc import Collection
from typing import Protocol


class LeaseUser(Protocol):
    """Does the work of the resources that this replica owns. It gets all resources, and ignores those of others.

    The resources of a call have been announced by :meth:`gained` before, and by no other call since. :meth:`lost` can
    come at any time, also while one of the others runs, which is cancelled then.
    """

    async def gained(self, resources: Collection[str]) -> None:
        """Begin the work: this replica owns ``resources`` now. Must return soon; it is cancelled after a time limit.

        If it fails or takes too long, the resources are lost, and taken again later.
        """
        ...

    async def releasing(self, resources: Collection[str]) -> None:
        """Finish the work: another replica gets ``resources`` after the return, or after a time limit."""
        ...

    def lost(self, resources: Collection[str]) -> None:
        """Stop the work at once, and write and send nothing more: another replica may own ``resources``."""
        ...
