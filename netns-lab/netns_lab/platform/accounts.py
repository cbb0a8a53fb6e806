"""Accounts: the lab's platform starts with one, and an operator of the lab makes others.

Every door acts for exactly one account: a request names it, and without a name it is the first one.
"""

from __future__ import annotations

import secrets
from ipaddress import IPv6Network
from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase1_networks import Name, NoArguments
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Account


class CreateAccount(Arguments):
    """`name` is unique on the platform."""

    name: Name


def create_account(context: Context, arguments: CreateAccount) -> Answer:
    """Creates an account, with an address pool of its own."""
    accounts = context.session.scalars(select(Account)).all()
    if any(arguments.name in (account.name, account.id) for account in accounts):
        raise ActionError("name", f"must be unique on the platform; {arguments.name!r} exists")
    account = Account(
        id=f"acct-{secrets.token_hex(6)}", name=arguments.name, ula_pool=random_pool()
    )
    context.session.add(account)
    context.session.flush()
    return {"account": _describe(account)}


def list_accounts(context: Context, arguments: NoArguments) -> Answer:
    """Lists the accounts of the platform; which of them a door acts for is said by whoever calls."""
    accounts = context.session.scalars(select(Account).order_by(Account.name))
    return {
        "accounts": [_describe(account) for account in accounts],
        "acting_for": context.account_id,
    }


def random_pool() -> str:
    """A /48 with a random global id (RFC 4193, section 3.2.1)."""
    digits = secrets.token_hex(5)
    return str(IPv6Network(f"fd{digits[:2]}:{digits[2:6]}:{digits[6:]}::/48"))


def _describe(account: Account) -> dict[str, object]:
    return {"id": account.id, "name": account.name}


ACTIONS: Final[tuple[Action, ...]] = (
    action("lab_create_account", CreateAccount, create_account),
    action("lab_list_accounts", NoArguments, list_accounts, effect=Effect.READ),
)
