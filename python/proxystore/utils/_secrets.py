"""Secrets that stand in a configuration themselves, and must not leave the process."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar, Self, SupportsIndex

__all__ = ['LiteralSecret', 'guard_secrets', 'names_a_place']

_REFERENCES = ('env:', 'file:')


class LiteralSecret(str):
    """A secret. It works in this process, hides itself in texts, and refuses to be pickled."""

    __slots__ = ()

    ADVICE: ClassVar[str] = (
        'Name the environment variable or the file that holds it wherever it is needed: '
        "'env:NAME' or 'file:PATH'."
    )

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return '***'

    def __format__(self, format_spec: str) -> str:
        return format('***', format_spec)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        msg = (
            'A configuration with a secret in it cannot be pickled: the secret would travel with '
            f'every proxy. {self.ADVICE}'
        )
        raise pickle.PicklingError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def names_a_place(option: str) -> bool:
    """Tell whether an option says where a secret is, and is not the secret itself.

    Args:
        option: Value of the option.
    """
    return option.startswith(_REFERENCES)


def guard_secrets(options: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Let secrets among options hide themselves.

    Args:
        options: Options of a connector.
        names: Names of those that may be secrets.

    Returns:
        The options, in which secrets that stand there themselves are
        `LiteralSecret`; those that name a place are left as they are.
    """
    guarded = dict(options)
    for name in names & options.keys():
        value = options[name]
        if isinstance(value, str) and not names_a_place(value):
            guarded[name] = LiteralSecret(value)
    return guarded
