"""How the gateway's shapes are read.

A key is mandatory unless its model gives it a default, and null only where its type says so. Keys that the gateway
adds one day are kept as extras of their model, so that nothing of the CRM is lost. Nothing is coerced: an id is a
string, a counter a whole number.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints


def _whole(value: Any) -> Any:
    """`2.0` is how some writers of JSON spell 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


FicheId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,40}$")]
MAX_KEY = 500
Key = Annotated[str, StringConstraints(max_length=MAX_KEY)]
"""A text that is indexed: an index entry of PostgreSQL holds about 2,700 bytes."""
Number = Annotated[int, BeforeValidator(_whole)]
NullableText = str | None
NullableKey = Key | None
NullableNumber = Annotated[int | None, BeforeValidator(_whole)]


class GatewayModel(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
