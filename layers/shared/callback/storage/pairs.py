"""The pair row: it names the one callback that may be live between two parties.

Nobody removes it: whoever finds it taken looks whether that callback has ended, and takes it over.
"""

from callback.errors import CallbackInProgress, CallbackNotFound
from callback.lifecycle.models import Callback, CallbackStatus
from callback.numbering import addresses
from callback.storage.callbacks import CallbackStore
from callback.storage.table import ABSENT, Expression, Key, Row, Write, expiry, key_row, put_row


class Pairs:
    """A party is known by what is dialed, so it takes the deployment's `sip_domain`."""

    def __init__(self, store: CallbackStore, sip_domain: str) -> None:
        self._store = store
        self._sip_domain = sip_domain

    def key(self, callback: Callback) -> Key:
        one, other = sorted(
            addresses.dial_target(leg.to, self._sip_domain) for leg in callback.legs
        )
        return f"PAIR#{callback.tenant}#{one}#{other}", "PAIR"

    def refuse_taken(self, callback: Callback) -> None:
        """Raises CallbackInProgress where the same two parties have a live callback."""
        self.take(callback, self.holder(callback))

    def holder(self, callback: Callback) -> Row | None:
        """The row of whoever had the pair last."""
        return self._store.table.get(self.key(callback))

    def take(self, callback: Callback, holder: Row | None) -> Write:
        """The write that takes the pair, where `holder` still has it.

        Raises CallbackInProgress while the holder's callback is live."""
        row = {
            **key_row(self.key(callback)),
            "callback_id": callback.callback_id,
            **expiry(callback.expires_at),
        }
        if holder is None:
            return put_row(row, ABSENT)
        try:
            live = self._store.get(holder["callback_id"])
        except CallbackNotFound:  # its retention is over
            live = None
        if live and live.status is not CallbackStatus.ENDED:
            raise CallbackInProgress(
                "Wait until it has ended, or cancel it; POST /voice/call/callback may also be sent"
                " allow_parallel.",
                callback_id=live.callback_id,
            )
        return put_row(row, Expression("callback_id = :holder", {":holder": holder["callback_id"]}))
