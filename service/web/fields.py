"""The fields of what goes in and out over HTTP: texts, whole numbers, quantities with their units.

OpenAPI describes quantities by patterns. What does not fit one is refused by the command line's own reading,
whose sentences say more than a pattern does.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ...explore.preparation.request import LEAST_SAMPLES

PLAIN = r"^[^\x00]*$"
_NUMBER = "[1-9][0-9]{0,5}([.][0-9]{1,6})?"
_DURATION, _SIZE = f"^{_NUMBER}(us|ms|s|m|h)$", f"^{_NUMBER}(B|KB|MB|GB)$"
_DROP = "^(0|[1-9][0-9]?)([.][0-9]{1,6})?(pp|%)$"


def _whole(value: object) -> object:
    """A whole number, be it written as 1.0: for JSON the two are one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, Field(max_length=1000, pattern=PLAIN)]
Texts = Annotated[list[Text], Field(max_length=50)]
Duration = Annotated[str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": _DURATION})]
Size = Annotated[str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": _SIZE})]
Drop = Annotated[str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": _DROP})]

# in a query an empty text is no limit
DurationAsked = Annotated[
    str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": f"^$|{_DURATION}"})
]
SizeAsked = Annotated[
    str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": f"^$|{_SIZE}"})
]
DropAsked = Annotated[
    str, Field(max_length=1000, pattern=PLAIN, json_schema_extra={"pattern": f"^$|{_DROP}"})
]

# limits stand before the validator, or OpenAPI would not have them
Samples = Annotated[int, Field(ge=LEAST_SAMPLES, le=1_000_000_000), BeforeValidator(_whole)]
Trials = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_whole)]
Trial = Annotated[int, Field(ge=0, le=10**9), BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1, lt=1 << 31), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32), BeforeValidator(_whole)]
Priority = Annotated[int, Field(ge=-1000, le=1000), BeforeValidator(_whole)]
ExitCode = Annotated[int, Field(ge=-256, le=256), BeforeValidator(_whole)]
