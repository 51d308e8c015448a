"""Every kind of field that docs/mapping.md allows, in schemas that are built here."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb._mapping import native
from chatpb._mapping.schema import SchemaError, mapping_of
from support.equality import exact, tagged
from support.schemas import KEYS, KINDS, NUMBERS, PACKAGE, SCALARS, UNSETS, Schema, Spec
from support.strategies import json_objects, messages

if TYPE_CHECKING:
    from _chatpb import Transcoder


# What the native implementation leaves to the reference in a double.


def _transcoder(schema: Schema) -> Transcoder | None:
    """The native implementation of another schema; None if it was not built."""
    if native.transcoder is None:
        return None
    return type(native.transcoder)(schema.descriptor_set())


def _specs(kind: str) -> st.SearchStrategy[Spec]:
    """Fields of a kind, with every label and option except those that name another field."""
    labels = ["optional", "repeated", "map", "alone"]
    if kind in SCALARS:
        labels.append("implicit")
    if kind in NUMBERS:
        labels.append("unpacked")
    return st.builds(
        Spec,
        st.just(kind),
        st.sampled_from(labels),
        st.sampled_from(UNSETS),
        st.sampled_from(KEYS),
    )


@st.composite
def _schemas(draw: st.DrawFn, kind: str) -> Schema:
    """Objects with every combination that section 1 of docs/mapping.md allows.

    An object may have

    - fields of every kind, with every label of `_specs`, and any `json_unset`;
    - oneofs, if each has one member;
    - any number of optional bytes with `json_unset_utf8`, before or after the string that they
      name, which is implicit, optional or in a oneof of its own. Two of them may name one string;
    - any number of optional strings of JSON text with `json_alternative_to`, before or after the
      field that they name, which can be any other. No two of them name the same.

    All are built, with up to two fields that have `json_unset_utf8`, and up to two that have
    `json_alternative_to`.
    """
    specs = [draw(_specs(kind))]
    specs += draw(st.lists(st.sampled_from(KINDS).flatmap(_specs), max_size=3))
    strings = draw(st.lists(st.sampled_from(["implicit", "optional", "alone"]), max_size=2))
    size = len(specs) + len(strings)
    specs += [Spec("string", label) for label in strings]
    if strings:
        named = draw(st.lists(st.integers(size - len(strings), size - 1), min_size=1, max_size=2))
        specs += [Spec("byte_array", options={"json_unset_utf8": place}) for place in named]
    places = st.integers(0, len(specs) - 1)
    for place in draw(st.lists(places, max_size=2, unique=True)):
        label = draw(st.sampled_from(["optional", "alone"]))
        specs.append(Spec("raw", label, options={"json_alternative_to": place}))
    order = draw(st.permutations(range(len(specs))))
    return Schema(tuple(_placed(specs[place], order) for place in order))


def _placed(spec: Spec, order: list[int]) -> Spec:
    """The field, which may name another by its place before the fields were put in an order."""
    named = {option: f"f{order.index(place)}" for option, place in spec.options.items()}
    return replace(spec, options=named)


def _read(native_type: tuple[Transcoder, int] | None, text: str, kind: type[Message]) -> bytes:
    """The binary form, in which the implementations agree."""
    binary = chatpb.json_to_binary(text, kind)
    if native_type is not None:
        transcoder, number = native_type
        found = transcoder.json_to_binary(text.encode(), number, False)
        assert binary == found
    return binary


def _known(schema: Schema) -> tuple[Transcoder, int] | None:
    transcoder = _transcoder(schema)
    if transcoder is None:
        return None
    number = transcoder.message_type(f"{PACKAGE}.Root")
    assert number is not None, "it is declined"
    return transcoder, number


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_json_comes_back_equal(name: str, data: st.DataObject) -> None:
    schema = data.draw(_schemas(name))
    kind, known = schema.message(), _known(schema)
    members = data.draw(json_objects(mapping_of(kind), 2))
    text = json.dumps(members)

    binary = _read(known, text, kind)
    written = chatpb.binary_to_json(binary, kind)

    assert exact(text) == exact(written)
    assert tagged(members) == tagged(chatpb.to_dict(chatpb.from_dict(members, kind)))
    assert binary == _read(known, written.decode(), kind)
    if known is not None:
        assert written == known[0].binary_to_json(binary, known[1], False, False)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_every_message_is_written_the_same(name: str, data: st.DataObject) -> None:
    schema = data.draw(_schemas(name))
    kind, known = schema.message(), _known(schema)
    message = data.draw(messages(kind, 2))
    binary = message.SerializeToString()
    try:
        written = chatpb.to_json(message)
    except chatpb.ConversionError:  # an element that is unset
        written = None

    if known is not None:
        found = known[0].binary_to_json(binary, known[1], False, False)
        assert written == (found if isinstance(found, bytes) else None)
    if written is not None:
        normal = chatpb.from_json(written, kind)
        assert exact(written) == exact(chatpb.to_json(normal))


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_unions_of_every_kind(name: str, data: st.DataObject) -> None:
    labels = st.sampled_from(["oneof", "optional", "repeated", "map"])
    labels = labels.filter(lambda label: label != "oneof" or name not in ("object", "union"))
    some = st.builds(Spec, st.just(name), labels, st.none(), st.sampled_from(KEYS))
    other = st.builds(Spec, st.sampled_from(KINDS), st.sampled_from(["optional", "repeated"]))
    holder = Schema((data.draw(some), data.draw(other)), is_union=True)
    kind, transcoder = holder.message("Holder"), _transcoder(holder)
    text = json.dumps(data.draw(json_objects(mapping_of(kind), 3)))
    number = transcoder.message_type(f"{PACKAGE}.Holder") if transcoder is not None else None
    assert (number is None) == (transcoder is None)

    binary = _read(
        (transcoder, number) if transcoder is not None and number is not None else None, text, kind
    )
    written = chatpb.binary_to_json(binary, kind)
    assert exact(text) == exact(written)
    if transcoder is not None and number is not None:
        assert written == transcoder.binary_to_json(binary, number, False, False)


_INTEGER_MISFITS = ["1.0", "1e2", "-0", '"1"', "true", "[1]"]
_FITS: list[tuple[Spec, list[str], list[str]]] = [
    (Spec("bool"), ["true", "false"], ["0", "1", '"true"']),
    *(
        (Spec(name), ["0", "1", str(-(2 ** (bits - 1))), str(2 ** (bits - 1) - 1)], misfits)
        for bits in (32, 64)
        for name in (f"int{bits}", f"sint{bits}", f"sfixed{bits}")
        for misfits in ([*_INTEGER_MISFITS, str(2 ** (bits - 1)), str(-(2 ** (bits - 1)) - 1)],)
    ),
    *(
        (Spec(name), ["0", str(2**bits - 1)], [*_INTEGER_MISFITS, "-1", str(2**bits)])
        for bits in (32, 64)
        for name in (f"uint{bits}", f"fixed{bits}")
    ),
    (Spec("double"), ["0.1", "-0.0", "-0", "1e-400", "9007199254740992"], ["9007199254740993"]),
    (
        Spec("float"),
        ["0.5", "0", "-0.0", "16777216", "1e-400", "3.4028234663852886e38"],
        ["0.1", "16777217", "3.5e38", "1e400", "1e-60", "true"],
    ),
    (Spec("string"), ['"a"', '""', '"\\u00e9"'], ["1", '"\\ud800"', "[]"]),
    (Spec("raw"), ["1", '"\\ud800"', "[null]", "{}", "false"], []),
    (Spec("byte_array"), ["[]", "[0,255]"], ["[256]", "[-1]", "[1.0]", "[true]", '"YQ=="']),
    (Spec("base64"), ['""', '"YQ=="'], ['"YQ="', '"YR=="', "[97]"]),
    (Spec("enum"), ['"one"', '"two_three"', '"other"'], ['"unspecified"', '"ONE"', "1"]),
    (Spec("object"), ["{}", '{"x":1}'], ["[]", "1"]),
    (Spec("union"), ["[]", "[{}]", '"a"', "0.5"], ["{}", "0.1", "[1]"]),
    (Spec("int32", "repeated"), ["[1,2]"], ["[1,null]", "{}", "1"]),
    (Spec("raw", "repeated"), ['[1,[null],"a"]'], ["[1,null]", "1"]),
    (Spec("byte_array", "repeated"), ["[[],[1]]"], ["[1]"]),
    (Spec("int32", "map", key="int32"), ['{"1":1,"-2":2,"0":0}'], ['{"01":1}', '{"-0":1}']),
    (Spec("int32", "map", key="uint64"), ['{"18446744073709551615":1}'], ['{"-1":1}', '{"+1":1}']),
    (Spec("int32", "map", key="bool"), ['{"true":1,"false":0}'], ['{"1":1}', '{"True":1}']),
    (Spec("raw", "map"), ['{"a":[1]}'], ['{"a":null}', '{"\\ud800":1}']),
    (Spec("base64", "map"), ['{"a":"YQ=="}'], ['{"a":[97]}']),
    (Spec("object", "map"), ['{"a":{"x":1}}'], ['{"a":1}', '{"a":null}']),
]


@pytest.mark.parametrize(
    ("spec", "value", "fits"),
    [
        pytest.param(spec, value, fits, id=f"{spec.label} {spec.kind} {value} {fits}")
        for spec, fitting, misfits in _FITS
        for values, fits in ((fitting, True), (misfits, False))
        for value in values
    ],
)
def test_what_fits(spec: Spec, value: str, fits: bool) -> None:
    """The table of section 4 of docs/mapping.md."""
    schema = Schema((spec,))
    kind, text = schema.message(), f'{{"f0":{value}}}'
    binary = _read(_known(schema), text, kind)
    own: Any = kind.FromString(binary)

    assert ("f0" not in own.residue.extra_json) == fits
    assert exact(text) == exact(chatpb.binary_to_json(binary, kind))


@pytest.mark.parametrize("unset", ["true", "false"])
@pytest.mark.parametrize("label", ["implicit", "optional"])
def test_unset_may_stand_for_a_boolean(label: str, unset: str) -> None:
    schema = Schema((Spec("bool", label, unset),))
    kind, known = schema.message(), _known(schema)

    assert b"" == _read(known, f'{{"f0":{unset}}}', kind)
    assert f'{{"f0":{unset}}}'.encode() == chatpb.to_json(kind())
    for value in ("true", "false", "null", "0"):
        text = f'{{"f0":{value}}}'
        assert text.encode() == chatpb.binary_to_json(_read(known, text, kind), kind)


_TIED = Schema(
    (
        Spec("byte_array", options={"json_unset_utf8": "f1"}),
        Spec("string"),
        Spec("byte_array", options={"json_unset_utf8": "f3"}),
        Spec("string", "implicit"),
    )
)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(names, id=" ".join(names))
        for size in (1, 2, 3, 4)
        for names in itertools.permutations(["f0", "f1", "f2", "f3"], size)
    ],
)
def test_bytes_of_strings_that_come_before_or_after_or_are_missing(names: tuple[str, ...]) -> None:
    kind, known = _TIED.message(), _known(_TIED)
    for one, two in itertools.product(["[0]", "[97]", "[98]", "[]", "null", '"a"'], repeat=2):
        members = {"f0": one, "f1": '"a"', "f2": two, "f3": '"b"'}
        text = "{" + ",".join(f'"{name}":{members[name]}' for name in names) + "}"
        binary = _read(known, text, kind)

        assert exact(text) == exact(chatpb.binary_to_json(binary, kind))


_SHARED = Schema(
    (
        Spec("raw", options={"json_alternative_to": "f1"}),
        Spec("string", "implicit", '"one"'),
        Spec("object", "repeated"),
        Spec("raw", "alone", options={"json_alternative_to": "f2"}),
    )
)


@pytest.mark.parametrize(
    ("text", "set_fields"),
    [
        ('{"f1":"a","f2":[{"f1":{}}]}', {"f1", "f2"}),
        ('{"f1":[{"a": 1.50},1e2],"f2":[[]]}', {"f0", "f3"}),
        ('{"f1":[],"f2":{}}', {"f0", "f3"}),
        ('{"f1":{},"f2":[]}', {"f0"}),
        ('{"f1":1,"f2":"a"}', set()),
        ('{"f1":"\\ud800","f2":null}', set()),
        ('{"f1":"one","f0":[1],"f3":[]}', set()),
    ],
)
def test_an_array_or_an_object_that_does_not_fit_is_in_the_field_that_shares_the_member(
    text: str, set_fields: set[str]
) -> None:
    kind, known = _SHARED.message(), _known(_SHARED)
    binary = _read(known, text, kind)

    found = {field.name for field, _ in kind.FromString(binary).ListFields()}
    assert set_fields == found - {"residue"}
    assert exact(text) == exact(chatpb.binary_to_json(binary, kind))
    if known is not None:
        written = known[0].binary_to_json(binary, known[1], False, False)
        assert written == chatpb.binary_to_json(binary, kind)


@pytest.mark.parametrize(
    ("twice", "once"),
    [
        ('{"f1":[1],"f1":"a","f2":1,"f2":{"a":1}}', '{"f1":"a","f2":{"a":1}}'),
        ('{"f1":"a","f1":[1],"f2":{"a":1},"f2":1}', '{"f1":[1],"f2":1}'),
    ],
)
def test_if_a_shared_member_is_repeated_the_last_one_wins(twice: str, once: str) -> None:
    kind, known = _SHARED.message(), _known(_SHARED)
    assert _read(known, once, kind) == _read(known, twice, kind)


def _alternative(kind: str = "raw", label: str = "optional", **more: Any) -> Spec:
    return Spec(kind, label, more.pop("unset", None), options={"json_alternative_to": "f1", **more})


_REFUSED: list[tuple[str, Schema]] = [
    ("an alternative that is text", Schema((_alternative("string"), Spec("string")))),
    ("an alternative that is a number", Schema((_alternative("int32"), Spec("string")))),
    ("an alternative that is a message", Schema((_alternative("object"), Spec("string")))),
    ("alternatives", Schema((_alternative(label="repeated"), Spec("string")))),
    ("a map of alternatives", Schema((_alternative(label="map"), Spec("string")))),
    ("an alternative without presence", Schema((_alternative(label="implicit"), Spec("string")))),
    ("an alternative that stands for null", Schema((_alternative(unset="null"), Spec("string")))),
    ("an alternative in a union", Schema((_alternative(), Spec("int32")), is_union=True)),
    ("an alternative to no field", Schema((_alternative(json_alternative_to="x"),))),
    ("an alternative to no name", Schema((_alternative(json_alternative_to=""),))),
    ("an alternative to itself", Schema((Spec("int32"), _alternative()))),
    ("an alternative to the residue", Schema((_alternative(json_alternative_to="residue"),))),
    ("two alternatives", Schema((_alternative(), Spec("string"), _alternative()))),
    (
        "an alternative to an alternative",
        Schema((Spec("string"), _alternative(json_alternative_to="f0"), _alternative())),
    ),
    (
        "an alternative in the oneof of its field",
        Schema((_alternative(label="oneof"), Spec("string", "oneof"))),
    ),
    ("bytes without an encoding", Schema((Spec("bytes"),))),
    ("an encoding of bytes on a string", Schema((Spec("string", options={"json_encoding": 1}),))),
    ("raw bytes", Schema((Spec("bytes", options={"json_encoding": 3}),))),
    ("a raw number", Schema((Spec("int32", options={"json_encoding": 3}),))),
    ("a map of bytes without an encoding", Schema((Spec("bytes", "map"),))),
    ("unset a number", Schema((Spec("int32", unset="1"),))),
    ("unset a list with an element", Schema((Spec("string", "repeated", '["a"]'),))),
    ("unset no JSON", Schema((Spec("string", unset="one"),))),
    ("unset NaN", Schema((Spec("double", unset="NaN"),))),
    ("utf8 of no field", Schema((Spec("byte_array", options={"json_unset_utf8": "x"}),))),
    (
        "utf8 in base64",
        Schema((Spec("base64", options={"json_unset_utf8": "f1"}), Spec("string"))),
    ),
    (
        "utf8 without presence",
        Schema((Spec("byte_array", "implicit", options={"json_unset_utf8": "f1"}), Spec("string"))),
    ),
    (
        "utf8 of a string that stands for another",
        Schema(
            (Spec("byte_array", options={"json_unset_utf8": "f1"}), Spec("string", unset='"a"'))
        ),
    ),
    ("two of a oneof in an object", Schema((Spec("int32", "oneof"), Spec("string", "oneof")))),
    ("a member of a union without presence", Schema((Spec("int32", "implicit"),), is_union=True)),
    (
        "two words of a value",
        Schema((Spec("enum"),), words=("A_UNSPECIFIED", "A_B", "A_C"), numbers=(0, 1, 1)),
    ),
    (
        "two values of a word",
        Schema((Spec("enum"),), words=("A_UNSPECIFIED", "A_B", "B"), numbers=(0, 1, 2)),
    ),
]


@pytest.mark.parametrize("schema", [pytest.param(s, id=name) for name, s in _REFUSED])
def test_what_the_mapping_does_not_allow_is_refused(schema: Schema) -> None:
    """The reference raises; the native implementation declines the type, and those with it."""
    with pytest.raises(SchemaError, match=f"^{PACKAGE}"):
        mapping_of(schema.message())
    with pytest.raises(TypeError):
        chatpb.from_json(b"{}", schema.message("Holder"))

    transcoder = _transcoder(schema)
    if transcoder is not None:
        assert transcoder.message_type(f"{PACKAGE}.Root") is None
        assert transcoder.message_type(f"{PACKAGE}.Holder") is None
        assert transcoder.message_type(f"{PACKAGE}.Part") is not None


def test_more_fields_than_the_native_implementation_takes_are_left_to_the_reference() -> None:
    schema = Schema(tuple(Spec("int32") for _ in range(65)))
    text = '{"f0":1,"f64":2}'

    assert text.encode() == chatpb.to_json(chatpb.from_json(text, schema.message()))
    transcoder = _transcoder(schema)
    assert transcoder is None or transcoder.message_type(f"{PACKAGE}.Root") is None
