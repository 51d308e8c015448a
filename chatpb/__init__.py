"""A lossless Protobuf form of OpenAI chat completions.

The functions here convert between JSON and the messages of `chatpb.v1`. The law that joins them:
``to_json(from_json(x)) == x`` as JSON values, for every JSON object ``x``.
"""

from chatpb._convert import (
    binary_to_json,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from chatpb._errors import ConversionError
from chatpb._fold import fold
from chatpb._implementation import implementation
from chatpb._residue import ResidueMember, residue
from chatpb._unfold import unfold

__all__ = [
    "ConversionError",
    "ResidueMember",
    "binary_to_json",
    "fold",
    "from_dict",
    "from_json",
    "implementation",
    "json_to_binary",
    "residue",
    "to_dict",
    "to_json",
    "unfold",
]
