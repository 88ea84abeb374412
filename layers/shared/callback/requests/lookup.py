"""Read a callback by its id, or list a tenant's by status, outcome, number and time."""

from typing import TYPE_CHECKING

from callback.errors import CallbackNotFound
from callback.lifecycle.models import Callback
from callback.storage.callbacks import CallbackStore
from callback.storage.listings import Listings, Page

if TYPE_CHECKING:
    from callback.requests.schema import ListRequest


def get(store: CallbackStore, tenant: str, callback_id: str) -> Callback:
    """Raises CallbackNotFound."""
    return owned(store.get(callback_id), tenant)


def owned(callback: Callback, tenant: str) -> Callback:
    """The callback, if it is the tenant's. Raises CallbackNotFound, as for an unknown id."""
    if callback.tenant != tenant:
        raise CallbackNotFound("No callback has this id.")
    return callback


def page(listings: Listings, tenant: str, request: "ListRequest") -> Page:
    """One page, newest first. Filters by the current status and outcome."""

    def wanted(callback: Callback) -> bool:
        return (request.status in (None, callback.status)) and (
            request.outcome in (None, callback.outcome)
        )

    return listings.page(
        tenant,
        matches=wanted,
        number=request.number,
        after=request.created_after,
        before=request.created_before,
        limit=request.limit,
        cursor=request.cursor,
    )
