"""Lists as one parameter of a statement, for `any_`: each value by itself would have to be bound, at most 65,535."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Text, literal


def numbers(values: Iterable[int]) -> ColumnElement[Sequence[int]]:
    return literal(list(values), ARRAY(BigInteger))


def texts(values: Iterable[str]) -> ColumnElement[Sequence[str]]:
    return literal(list(values), ARRAY(Text))
