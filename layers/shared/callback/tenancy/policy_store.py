"""The stored policies, and the kill switches for one tenant and for all.

A policy is a set of fields on the tenant's row (TENANT-SETTINGS#<tenant> / SETTINGS), each in its
text form (`policy_text`). A missing field has its default. The row SWITCH / CALLING, while it
exists, stops all calls of all tenants.
"""

from datetime import datetime, timedelta

from callback import clock
from callback.lifecycle.models import to_text
from callback.storage.table import PRESENT, Expression, Key, Table, key_row
from callback.tenancy.policy import Policy, Standing
from callback.tenancy.policy_text import parse_field, parse_policy
from callback.tenancy.tenants import NoSuchTenant, settings_key

# How long a policy or a kill switch is cached. The promise is that a change takes effect within
# 10 s; the rest is for a request that read the cache just before.
_CACHE_AGE = timedelta(seconds=5)

_SWITCH: Key = ("SWITCH", "CALLING")


class PolicyStore:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._cache: dict[str, tuple[datetime, Standing]] = {}

    def standing(self, tenant: str) -> Standing:
        """The tenant's standing, a few seconds old at most (`_CACHE_AGE`).

        A tenant without a row, or without a policy, has the defaults.
        """
        now = clock.now()
        read_at, standing = self._cache.get(tenant, (None, Standing(Policy())))
        if read_at is None or not timedelta() <= now - read_at < _CACHE_AGE:
            rows = self._table.read([settings_key(tenant), _SWITCH])
            standing = Standing(parse_policy(rows.get(settings_key(tenant), {})), _SWITCH in rows)
            self._cache[tenant] = (now, standing)
        return standing

    def get(self, tenant: str) -> Policy:
        """The policy at this moment, not cached. Raises NoSuchTenant."""
        rows = self._table.read([settings_key(tenant)])
        if not rows:
            raise NoSuchTenant(f"There is no tenant {tenant}.")
        return parse_policy(rows[settings_key(tenant)])

    def set(self, tenant: str, field: str, text: str) -> None:
        """Set a field. Empty text restores its default.

        Raises UnknownField, InvalidValue, NoSuchTenant. Nothing is written then.
        """
        parse_field(field, text)
        names = {"#field": field}
        change = (
            Expression("SET #field = :text", {":text": text}, names)
            if text
            else Expression("REMOVE #field", names=names)
        )
        if not self._table.update(settings_key(tenant), change, PRESENT):
            raise NoSuchTenant(f"There is no tenant {tenant}.")

    def switch(self, *, on: bool, tenant: str | None = None) -> None:
        """Stop (`on`) or resume all calls of a tenant, or of all tenants. Raises NoSuchTenant."""
        if tenant is not None:
            self.set(tenant, "enabled", "false" if on else "")
        elif on:
            self._table.put({**key_row(_SWITCH), "thrown_at": to_text(clock.now())})
        else:
            self._table.delete(_SWITCH)

    def switch_is_on(self) -> bool:
        """Whether the switch for all tenants is on at this moment."""
        return bool(self._table.read([_SWITCH]))
