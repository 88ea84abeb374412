"""Carries out erasures every minute, here and at the carrier, until they are complete.

A live callback is canceled first. Once it has ended, one transaction deletes all its rows and
stores only its calls' ids, which are still to be deleted at the carrier. Nothing of a callback is
kept: its tenant knows its id, under which its times and outcome would still describe the person.
A run may be repeated at any moment, or overlap with another.

No callback that was accepted before the erasure was requested is missed. An erasure of a number
searches for callbacks created until the request. An erasure of a tenant, whose keys are revoked,
searches for all callbacks. The search ends with the first run that finds nothing and began after
every request in progress at that time had ended.
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

# A request may be in progress for this long: a revoked key is accepted for a minute at most, and a
# function that accepts callbacks runs for less than another minute (template.yaml: Timeout).
_LAST_REQUEST = timedelta(minutes=2)

# How much the clocks of two functions may differ.
_CLOCKS_DIFFER = timedelta(seconds=2)

# The carrier may take 14 days (Twilio error 20009).
_OVERDUE_AFTER = timedelta(days=15)


@dataclass
class Tally:
    """Counts of one run: erasures processed and finished, callbacks and carrier records deleted."""

    open: int = 0
    finished: int = 0
    callbacks: int = 0
    calls: int = 0


@dataclass
class Eraser:
    """Carries out erasures. `out_of_time` returns true when the next run must do the rest."""

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
            try:
                self._continue(erasure, tally)
            except StoreContended:  # the next run tries again
                continue
        return tally

    def _continue(self, erasure: Erasure, tally: Tally) -> None:
        is_erased = erasure.erased_at is not None or self._erase_callbacks(erasure, tally)
        carrier_is_done = self._erase_carrier_records(erasure, tally)
        if is_erased and carrier_is_done:
            self.erasures.finish(erasure)
            tally.finished += 1
        elif clock.now() - erasure.requested_at > _OVERDUE_AFTER:
            logger.error("an erasure is overdue", erasure_id=erasure.erasure_id)

    def _erase_callbacks(self, erasure: Erasure, tally: Tally) -> bool:
        """Delete the callbacks in our table. Returns whether none remain and none can follow."""
        began, is_complete = clock.now(), True
        address = self.erasures.address(erasure)
        until = (erasure.requested_at if address else began) + _CLOCKS_DIFFER
        for position in self.holdings.listings.positions(erasure.tenant, address, until):
            if self.out_of_time():
                return False
            if self._erase_callback(erasure, address, position):
                tally.callbacks += 1
            else:
                is_complete = False
        if not is_complete or began - erasure.requested_at < _LAST_REQUEST:
            return False
        self.erasures.mark_erased(erasure)
        return True

    def _erase_callback(self, erasure: Erasure, address: str | None, position: str) -> bool:
        """Delete one callback with all its rows. Returns whether they are deleted."""
        holding = self.holdings.find(erasure.tenant, position, address)
        callback = holding.callback
        if callback and not self._end_callback(callback.callback_id):
            return False
        if callback:  # read again: ending it has changed it
            holding = self.holdings.find(erasure.tenant, position, address)
            callback = holding.callback
        legs = callback.legs if callback else ()
        call_sids = [leg.call_sid for leg in legs if leg.call_sid]
        return self.holdings.erase(holding, self.erasures.erased_callback(erasure, call_sids))

    def _end_callback(self, callback_id: str) -> bool:
        """Cancel the callback if it is live. Returns whether it can be deleted.

        It can once it has ended, no execution waits for it and its reservation is returned. After
        the deletion nothing could return the reservation to the tenant's limits.
        """
        try:
            callback = self.calls.store.get(callback_id)
            if callback.status is not CallbackStatus.ENDED:
                callback = self.calls.close(callback_id, CloseReason.CANCELED)
            if transitions.over(callback):
                self.workflow.settle(callback)
        except CallbackNotFound:  # it has expired, long after its calls ended
            return True
        except (CarrierUnavailable, StoreContended):  # the next run tries again
            return False
        return callback.status is CallbackStatus.ENDED and self.calls.store.release(callback)

    def _erase_carrier_records(self, erasure: Erasure, tally: Tally) -> bool:
        """Delete the calls' records at the carrier. Returns whether none remain."""
        is_complete = True
        for record in self.erasures.carrier_records(erasure):
            if record.next_try_at > clock.now() or self.out_of_time():
                is_complete = False
            elif self._delete_carrier_record(record.call_sid):
                self.erasures.mark_record_deleted(erasure, record)
                tally.calls += 1
            else:
                self.erasures.postpone_record(erasure, record)
                is_complete = False
        return is_complete

    def _delete_carrier_record(self, call_sid: str) -> bool:
        """Returns whether the carrier has deleted the record."""
        try:
            return self.calls.carrier.delete_record(call_sid)
        except CarrierUnavailable:
            return False
