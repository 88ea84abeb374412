"""End callbacks that were never started."""

from callback import clock
from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, CloseReason
from callback.storage.callbacks import CallbackStore


def end_waiting(
    store: CallbackStore, callback: Callback, reason: CloseReason, refusal: str | None = None
) -> None:
    """End a waiting callback, and give back its place. Nothing if it waits no more."""
    ended, is_done = store.change(
        callback.callback_id,
        lambda c: transitions.end_waiting(c, reason, clock.now(), refusal),
        known=callback,
    )
    if is_done:
        store.release(ended)  # if other writers win, `reconcile` releases it
