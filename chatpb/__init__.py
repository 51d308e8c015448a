"""A lossless Protobuf form of OpenAI chat completions.

The functions here convert between JSON and the messages of `chatpb.v1`. The law is
``to_json(from_json(x)) == x`` as JSON values, for every JSON object ``x``.
"""

from chatpb._errors import ChatpbError, ConversionError
from chatpb._public import imported_later, publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chatpb._mapping.batch import binaries_to_json_lines, json_lines_to_binary
    from chatpb._mapping.convert import (
        binary_to_json,
        from_dict,
        from_json,
        json_to_binary,
        to_dict,
        to_json,
    )
    from chatpb._mapping.native import implementation
    from chatpb._mapping.residue import ResidueMember, clear_residue, residue
    from chatpb._stream.fold import fold
    from chatpb._stream.unfold import unfold
else:
    __getattr__, __dir__ = imported_later(
        "chatpb",
        {
            "_mapping.batch": "binaries_to_json_lines json_lines_to_binary",
            "_mapping.convert": "binary_to_json from_dict from_json json_to_binary to_dict to_json",
            "_mapping.native": "implementation",
            "_mapping.residue": "ResidueMember clear_residue residue",
            "_stream.fold": "fold",
            "_stream.unfold": "unfold",
            "v1": "",
        },
    )

__all__ = [
    "ChatpbError",
    "ConversionError",
    "ResidueMember",
    "binaries_to_json_lines",
    "binary_to_json",
    "clear_residue",
    "fold",
    "from_dict",
    "from_json",
    "implementation",
    "json_lines_to_binary",
    "json_to_binary",
    "residue",
    "to_dict",
    "to_json",
    "unfold",
]

publish("chatpb", "ChatpbError", "ConversionError")
