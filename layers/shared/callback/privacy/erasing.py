"""Every minute: forget what is to be forgotten, here and at the carrier, until it is done.

A callback that is live is canceled first; once it has ended, everything that we hold of it is
deleted in one transaction that leaves its calls' ids, and nothing else, to be deleted at the
carrier. Nothing of a callback is kept: its times and outcome under its id, which its tenant knows,
would still tell of the person. Safe to run again at any moment, or twice at once.

Nothing that was accepted before the erasure was asked for is missed. Of a number, what was created
by then is looked for; of a tenant, whose keys are revoked, whatever there is. And it is looked for
until one look finds nothing that began when every request that was under way at the time had ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.dialing import Calls
from callback.call_control.workflow import Workflow
from callback.errors import CallbackNotFound, CarrierUnavailable, StoreContended
from callback.lifecycle import transitions
from callback.lifecycle.models import CallbackStatus, CloseReason
from callback.privacy.erasures import Erasure, ErasureStore
from callback.storage.erasure import Holdings

logger = Logger(child=True)

# A revoked key is let in for a minute at most, and a function that accepts callbacks runs for less
# than another (template.yaml: their Timeouts).
_LAST_REQUEST = timedelta(minutes=2)

# Two functions' clocks may differ by so much.
_CLOCKS_DIFFER = timedelta(seconds=2)

# The carrier says that it may take 14 days (Twilio error 20009).
_OVERDUE_AFTER = timedelta(days=15)


@dataclass
class Tally:
    """Of one run: erasures looked at and finished, callbacks and carrier's records deleted."""

    open: int = 0
    finished: int = 0
    callbacks: int = 0
    calls: int = 0


@dataclass
class Eraser:
    """`out_of_time` says when to leave the rest to the next run."""

    erasures: ErasureStore
    calls: Calls
    holdings: Holdings
    workflow: Workflow
    out_of_time: Callable[[], bool]

    def run(self) -> Tally:
        tally = Tally()
        for erasure in self.erasures.open():
            if self.out_of_time():
                break
            tally.open += 1
            all_erased = erasure.erased_at is not None or self._erase_ours(erasure, tally)
            calls_left = self._erase_the_carriers(erasure, tally)
            if all_erased and not calls_left:
                self.erasures.finish(erasure)
                tally.finished += 1
            elif clock.now() - erasure.requested_at > _OVERDUE_AFTER:
                logger.error("an erasure is overdue", erasure_id=erasure.erasure_id)
        return tally

    def _erase_ours(self, erasure: Erasure, tally: Tally) -> bool:
        """Whether nothing of ours is left, for good."""
        began, left = clock.now(), False
        address = self.erasures.address(erasure)
        until = (erasure.requested_at if address else began) + _CLOCKS_DIFFER
        for position in self.holdings.listings.positions(erasure.tenant, address, until):
            if self.out_of_time():
                return False
            if self._erase_callback(erasure, address, position):
                tally.callbacks += 1
            else:
                left = True
        if left or began - erasure.requested_at < _LAST_REQUEST:
            return False
        self.erasures.ours_are_gone(erasure)
        return True

    def _erase_callback(self, erasure: Erasure, address: str | None, position: str) -> bool:
        held = self.holdings.find(erasure.tenant, position, address)
        callback = held.callback
        if callback and not self._is_over(callback.callback_id):
            return False
        if callback:  # as it stands after it was ended
            held = self.holdings.find(erasure.tenant, position, address)
            callback = held.callback
        legs = callback.legs if callback else ()
        call_sids = [leg.call_sid for leg in legs if leg.call_sid]
        return self.holdings.erase(held, self.erasures.counting(erasure, call_sids))

    def _is_over(self, callback_id: str) -> bool:
        """Ended, after this if need be, with no execution waiting for it, and holding nothing of
        its tenant's limits: what is deleted could never give it back."""
        try:
            callback = self.calls.store.get(callback_id)
            if callback.status is not CallbackStatus.ENDED:
                callback = self.calls.close(callback_id, CloseReason.CANCELED)
            if transitions.over(callback):
                self.workflow.settle(callback)
        except CallbackNotFound:  # it has expired: nobody is on the line any more
            return True
        except (CarrierUnavailable, StoreContended):  # the next run asks again
            return False
        return callback.status is CallbackStatus.ENDED and self.calls.store.release(callback)

    def _erase_the_carriers(self, erasure: Erasure, tally: Tally) -> bool:
        """Whether the carrier has records left."""
        left = False
        for call in self.erasures.calls(erasure):
            if call.next_try_at > clock.now() or self.out_of_time():
                left = True
            elif self._deleted_at_carrier(call.call_sid):
                self.erasures.call_is_gone(erasure, call)
                tally.calls += 1
            else:
                self.erasures.put_off(erasure, call)
                left = True
        return left

    def _deleted_at_carrier(self, call_sid: str) -> bool:
        try:
            return self.calls.carrier.delete_record(call_sid)
        except CarrierUnavailable:
            return False
