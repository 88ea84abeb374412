"""Read callbacks: one by its id, or a tenant's own by status, outcome, number and time."""

from callback.errors import CallbackNotFound
from callback.lifecycle.models import Callback
from callback.requests.schema import ListRequest
from callback.storage.callbacks import CallbackStore
from callback.storage.listings import Listings, Page


def get(store: CallbackStore, tenant: str, callback_id: str) -> Callback:
    """Raises CallbackNotFound."""
    return owned(store.get(callback_id), tenant)


def owned(callback: Callback, tenant: str) -> Callback:
    """Raises CallbackNotFound for another tenant's: it does not exist for this one."""
    if callback.tenant != tenant:
        raise CallbackNotFound("No callback has this id.")
    return callback


def page(listings: Listings, tenant: str, asked: ListRequest) -> Page:
    """One page, newest first. Status and outcome are matched on the callbacks as they stand."""

    def wanted(callback: Callback) -> bool:
        return (asked.status in (None, callback.status)) and (
            asked.outcome in (None, callback.outcome)
        )

    return listings.page(
        tenant,
        matches=wanted,
        number=asked.number,
        after=asked.created_after,
        before=asked.created_before,
        limit=asked.limit,
        cursor=asked.cursor,
    )
