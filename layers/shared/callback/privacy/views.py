"""An erasure as clients see it."""

from typing import TYPE_CHECKING

from callback.lifecycle.models import maybe_text, to_text
from callback.privacy.erasures import Erasure

if TYPE_CHECKING:  # no function but the document's needs the types
    from callback.privacy.record import ErasuresView, ErasureView


def erasure_view(erasure: Erasure) -> "ErasureView":
    return {
        "erasure_id": erasure.erasure_id,
        "status": "done" if erasure.finished_at else "erasing",
        "number_hash": erasure.number_hash,
        "callbacks_erased": erasure.callbacks,
        "carrier_records_erased": erasure.calls,
        "requested_at": to_text(erasure.requested_at),
        "erased_at": maybe_text(erasure.erased_at),
        "finished_at": maybe_text(erasure.finished_at),
    }


def erasures_view(erasures: list[Erasure]) -> "ErasuresView":
    return {"erasures": [erasure_view(erasure) for erasure in erasures]}
