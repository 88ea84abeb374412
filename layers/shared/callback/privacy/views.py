"""An erasure as clients see it."""

from typing import Any

from callback.lifecycle.models import maybe_text
from callback.privacy.erasures import Erasure


def erasure_view(erasure: Erasure) -> dict[str, Any]:
    return {
        "erasure_id": erasure.erasure_id,
        "status": "done" if erasure.finished_at else "erasing",
        "number_hash": erasure.number_hash,
        "callbacks_erased": erasure.callbacks,
        "carrier_records_erased": erasure.calls,
        "requested_at": maybe_text(erasure.requested_at),
        "erased_at": maybe_text(erasure.erased_at),
        "finished_at": maybe_text(erasure.finished_at),
    }
