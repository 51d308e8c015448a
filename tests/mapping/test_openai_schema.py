"""The schema has whatever the installed openai package documents of chat completions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

import pydantic
import pytest
from google.protobuf.message import Message
from openai.types import Model
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionDeleted,
    ChatCompletionStoreMessage,
    CompletionUpdateParams,
    completion_list_params,
)
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.chat.completions import message_list_params
from openai.types.completion_usage import CompletionUsage
from openai.types.shared import ErrorObject
from typing_extensions import TypeAliasType, TypedDict

from chatpb import v1
from chatpb._mapping.schema import mapping_of
from support.golden_files import WITHOUT_JSON, enums, messages
from support.openai_walk import Finding, Walk

ROOTS: Mapping[str, tuple[Any, type[Message]]] = {
    "ChatCompletion": (ChatCompletion, v1.ChatCompletion),
    "ChatCompletionChunk": (ChatCompletionChunk, v1.ChatCompletionChunk),
    "ChatCompletionStoreMessage": (
        ChatCompletionStoreMessage,
        v1.ChatCompletionStoreMessage,
    ),
    "ChatCompletionDeleted": (ChatCompletionDeleted, v1.ChatCompletionDeleted),
    "CompletionCreateParamsNonStreaming": (
        CompletionCreateParamsNonStreaming,
        v1.ChatCompletionRequest,
    ),
    "CompletionCreateParamsStreaming": (
        CompletionCreateParamsStreaming,
        v1.ChatCompletionRequest,
    ),
    "CompletionUpdateParams": (CompletionUpdateParams, v1.ChatCompletionUpdate),
    "CompletionUsage": (CompletionUsage, v1.CompletionUsage),
    "ErrorObject": (ErrorObject, v1.Error),
    "Model": (Model, v1.Model),
}

# What OpenAI documents and the schema leaves out on purpose: findings, each with its reason.
EXCEPTIONS: Mapping[Finding, str] = {}

# Enum words that OpenAI's package does not name, each with its reason.
UNDOCUMENTED_WORDS: Mapping[str, str] = {
    "chatpb.v1.ServiceTier.SERVICE_TIER_ON_DEMAND": "Groq sends it with every answer",
    "chatpb.v1.ServiceTier.SERVICE_TIER_STANDARD": "OpenRouter and Writer send it",
    "chatpb.v1.ServiceTier.SERVICE_TIER_PROVISIONED": "OpenRouter sends it for Google's models",
    "chatpb.v1.RecordKept.RECORD_KEPT_METADATA": "records are chatpb's own",
    "chatpb.v1.RecordKept.RECORD_KEPT_REDACTED": "records are chatpb's own",
}

# Enums of the parameters of lists, which have a test of their own.
_OF_PARAMETERS = ("SortOrder",)

# Fields numbered below 100 that OpenAI's package does not name, each with its reason.
_PAGE = "the package has a generic page type; the members are in OpenAI's API reference"
UNDOCUMENTED_FIELDS: Mapping[str, str] = {
    "chatpb.v1.ErrorResponse.error": "the package reads it apart from its types",
    **{
        f"chatpb.v1.{page}.{name}": _PAGE
        for page in ("ChatCompletionList", "ChatCompletionStoreMessageList")
        for name in ("object", "data", "first_id", "last_id", "has_more")
    },
    **{f"chatpb.v1.ModelList.{name}": _PAGE for name in ("object", "data")},
    **{
        f"chatpb.v1.{token}.id": "it comes with every token: a number of one byte counts"
        for token in ("ChatCompletionTokenLogprob", "TopLogprob")
    },
    **{
        f"chatpb.v1.{union}": "a form of a member that OpenAI does not document"
        for union in (
            "MatchedStop.token_id",
            "MatchedStop.text",
            "UsageCost.amount",
            "UsageCost.breakdown",
        )
    },
}


def walk(*names: str) -> Walk:
    found = Walk()
    for name in names:
        documented, message = ROOTS[name]
        found.model(documented, mapping_of(message), name)
    return found


@pytest.mark.parametrize("name", ROOTS)
def test_schema_has_all_that_openai_documents(name: str) -> None:
    """All but for the exceptions that stand above, with their reasons."""
    assert not [finding for finding in walk(name).findings if finding not in EXCEPTIONS]


def test_exceptions_are_still_needed() -> None:
    assert set(EXCEPTIONS) == set(EXCEPTIONS) & set(walk(*ROOTS).findings)


def test_words_that_openai_does_not_document_have_a_reason() -> None:
    """An enum has the words that OpenAI documents and, for a reason, others."""
    documented = walk(*ROOTS).words
    undocumented = {
        f"{enum.full_name}.{value.name}"
        for enum in enums()
        if enum.name not in _OF_PARAMETERS and enum.file.name != "chatpb/v1/options.proto"
        for value in enum.values
        if value.number != 0
        and value.name.removeprefix(
            enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
        ).lower()
        not in documented[enum.full_name]
    }
    assert set(UNDOCUMENTED_WORDS) == undocumented


@pytest.mark.parametrize(
    ("documented", "request_type"),
    [
        (completion_list_params.CompletionListParams, v1.ListStoredChatCompletionsRequest),
        (message_list_params.MessageListParams, v1.ListStoredChatCompletionMessagesRequest),
    ],
)
def test_lists_take_the_parameters_that_openai_documents(
    documented: Any, request_type: type[Message]
) -> None:
    parameters = get_type_hints(documented)
    own = {"completion_id"}  # a part of the path
    assert parameters.keys() == set(request_type.DESCRIPTOR.fields_by_name) - own
    words = {f"SORT_ORDER_{word.upper()}" for word in get_args(parameters["order"])}
    assert words == {*v1.SortOrder.keys()} - {"SORT_ORDER_UNSPECIFIED"}


def test_fields_below_100_are_those_that_openai_documents() -> None:
    """The rule of the field numbers: documented below 100, de facto from 100."""
    documented = walk(*ROOTS).fields
    below = {
        field.full_name
        for message in messages()
        if message.file.name not in ("chatpb/v1/residue.proto", *WITHOUT_JSON)
        for field in message.fields
        if field.number < 100 and field.name != "residue"
    }
    assert set(UNDOCUMENTED_FIELDS) == below - documented
    assert set() == documented - below


class _Details(pydantic.BaseModel):
    reasoning_tokens: int | None = None
    thinking_tokens: int | None = None


class _Choice(pydantic.BaseModel):
    finish_reason: Literal["stop", "eos"]


class _Typed(TypedDict):
    type: str


class _Format(pydantic.BaseModel):
    name: str
    schema_: dict[str, object] | None = pydantic.Field(alias="schema", default=None)


def _fake(**members: Any) -> type[pydantic.BaseModel]:
    fields: Any = {name: (annotation, ...) for name, annotation in members.items()}
    model: type[pydantic.BaseModel] = pydantic.create_model("_Fake", **fields)
    return model


@pytest.mark.parametrize(
    ("message", "members", "expected"),
    [
        pytest.param(
            v1.UrlCitation,
            {"title": str, "snippet": str | None},
            [Finding("$.snippet", "chatpb.v1.UrlCitation has no such field")],
            id="a new field",
        ),
        pytest.param(
            v1.CompletionUsage,
            {"total_tokens": int, "completion_tokens_details": _Details | None},
            [
                Finding(
                    "$.completion_tokens_details.thinking_tokens",
                    "chatpb.v1.CompletionTokensDetails has no such field",
                )
            ],
            id="a new field of an inner object",
        ),
        pytest.param(
            v1.ChatCompletion,
            {"choices": list[_Choice]},
            [Finding("$.choices[].finish_reason", "chatpb.v1.FinishReason has no word 'eos'")],
            id="a new word",
        ),
        pytest.param(
            v1.Choice,
            {"finish_reason": str},
            [
                Finding(
                    "$.finish_reason",
                    "any string where the schema has the words of chatpb.v1.FinishReason",
                )
            ],
            id="any string for words",
        ),
        pytest.param(
            v1.Annotation,
            {"type": Literal["url_citation", "file"]},
            [
                Finding(
                    "$.type",
                    "the words ['url_citation', 'file'] where the schema has a string of any text",
                )
            ],
            id="words for a constant",
        ),
        pytest.param(
            v1.ChatCompletion,
            {"created": float, "id": int, "model": list[str]},
            [
                Finding("$.created", "float where the schema has integer"),
                Finding("$.id", "int where the schema has string"),
                Finding("$.model", "list[str] where the schema has string"),
            ],
            id="another scalar",
        ),
        pytest.param(
            v1.ChatCompletion,
            {"metadata": dict[str, int], "choices": _Details, "usage": dict[str, int]},
            [
                Finding("$.metadata{}", "int where the schema has string"),
                Finding("$.choices", "_Details where the schema has a list"),
                Finding("$.usage", "dict[str, int] where the schema has chatpb.v1.CompletionUsage"),
            ],
            id="another container",
        ),
        pytest.param(
            v1.TopLogprob,
            {"bytes": list[str] | None},
            [Finding("$.bytes", "list[str] where the schema has bytes")],
            id="another array than bytes",
        ),
        pytest.param(
            v1.FunctionDefinition,
            {"parameters": _Typed},
            [Finding("$.parameters", "_Typed where the schema has free JSON")],
            id="a documented object for free JSON",
        ),
        pytest.param(
            v1.ChatCompletionRequest,
            {"stop": str | list[str] | int, "tool_choice": Literal["auto", "never"]},
            [
                Finding("$.stop", "chatpb.v1.Stop takes no integer"),
                Finding("$.tool_choice", "chatpb.v1.ToolChoiceMode has no word 'never'"),
            ],
            id="a new arm of a union",
        ),
        pytest.param(
            v1.ChatCompletionRequest,
            {
                "model": TypeAliasType("_Model", str | Literal["a", "b"]),
                "stop": Annotated[list[str] | str | None, "said of it"],
                "stream": Literal[True],
            },
            [],
            id="nothing: aliases, annotations and literals",
        ),
        pytest.param(
            v1.JsonSchema,
            {name: info.annotation for name, info in _Format.model_fields.items()},
            [Finding("$.schema_", "chatpb.v1.JsonSchema has no such field")],
            id="a name without its alias",
        ),
    ],
)
def test_walk_finds_what_is_lacking(
    message: type[Message], members: dict[str, Any], expected: list[Finding]
) -> None:
    found = Walk()
    found.model(_fake(**members), mapping_of(message), "$")
    assert expected == found.findings


def test_walk_takes_the_alias_of_a_name() -> None:
    found = Walk()
    found.model(_Format, mapping_of(v1.JsonSchema), "$")
    assert not found.findings
    assert {"chatpb.v1.JsonSchema.name", "chatpb.v1.JsonSchema.schema"} == found.fields


def test_walk_finds_a_field_that_is_gone_from_the_schema() -> None:
    doctored = copy.copy(mapping_of(v1.Error))
    doctored.fields = {k: v for k, v in doctored.fields.items() if k != "misalignment"}
    found = Walk()
    found.model(ErrorObject, doctored, "$")
    assert [Finding("$.misalignment", "chatpb.v1.Error has no such field")] == found.findings
