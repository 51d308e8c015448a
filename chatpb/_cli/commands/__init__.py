"""The commands, one file for each.

A module ``to_json`` here is the command ``chatpb to-json``. It defines it as ``command``, and is
imported only when that command is used or listed. What needs pyarrow or grpc is imported in the
function, so that the other commands and ``--help`` do without.
"""
