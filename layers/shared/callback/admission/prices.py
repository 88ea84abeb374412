"""The maximum price of a minute, by region and type: the table in prices.json.

Put your carrier's prices there; the file in the repository is a sample, rounded up.
A number without a price costs the default. Set it higher than any price you would pay by mistake.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from callback.amounts import money
from callback.numbering.number_types import NumberType

_FILE = Path(__file__).with_name("prices.json")
_ANY = "any"


@dataclass(frozen=True)
class PriceTable:
    """Prices per minute, in millionths of `currency`.

    `default` is for numbers without a price, `pbx` for extensions and sip: addresses.
    """

    currency: str
    default: int
    pbx: int
    regions: dict[str, dict[str, int]]

    def per_minute(self, region: str | None, kind: NumberType | None) -> int:
        """The price for a number. `region` None: an extension or a sip: address."""
        if region is None:
            return self.pbx
        prices = self.regions.get(region, {})
        return prices.get(str(kind), prices.get(_ANY, self.default))


def read(path: Path = _FILE) -> PriceTable:
    table = json.loads(path.read_text(encoding="utf-8"))
    currency = table["currency"]

    def micros(price: str) -> int:
        return money(f"{price} {currency}").micros

    return PriceTable(
        currency=currency,
        default=micros(table["default"]),
        pbx=micros(table["pbx"]),
        regions={
            region: {kind: micros(price) for kind, price in prices.items()}
            for region, prices in table["regions"].items()
        },
    )
