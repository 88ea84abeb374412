"""The pair row names the one callback that may be live between two parties.

The row stays when that callback ends. The next callback of the pair checks this and takes it over.
"""

from callback.errors import CallbackInProgress, CallbackNotFound
from callback.lifecycle.models import Callback, CallbackStatus
from callback.numbering import addresses
from callback.storage.callbacks import CallbackStore
from callback.storage.table import ABSENT, Expression, Key, Row, Write, expiry, key_row, put_row


class Pairs:
    """Identifies a party by its dial target, which may contain the deployment's `sip_domain`."""

    def __init__(self, store: CallbackStore, sip_domain: str) -> None:
        self._store = store
        self._sip_domain = sip_domain

    def key(self, callback: Callback) -> Key:
        one, other = sorted(
            addresses.dial_target(leg.to, self._sip_domain) for leg in callback.legs
        )
        return f"PAIR#{callback.tenant}#{one}#{other}", "PAIR"

    def refuse_taken(self, callback: Callback) -> None:
        """Raises CallbackInProgress if the same two parties have a live callback."""
        self.take(callback, self.holder(callback))

    def holder(self, callback: Callback) -> Row | None:
        """The pair's row, which names its last callback."""
        return self._store.table.get(self.key(callback))

    def take(self, callback: Callback, holder: Row | None) -> Write:
        """The write that takes the pair, on condition that `holder` is still its row.

        Raises CallbackInProgress while the holder's callback is live.
        """
        row = {
            **key_row(self.key(callback)),
            "callback_id": callback.callback_id,
            **expiry(callback.expires_at),
        }
        if holder is None:
            return put_row(row, ABSENT)
        try:
            live = self._store.get(holder["callback_id"])
        except CallbackNotFound:  # it has expired
            live = None
        if live and live.status is not CallbackStatus.ENDED:
            raise CallbackInProgress(
                "Wait until the other callback ends, or cancel it. POST /voice/call/callback also"
                " accepts allow_parallel.",
                callback_id=live.callback_id,
            )
        return put_row(row, Expression("callback_id = :holder", {":holder": holder["callback_id"]}))
