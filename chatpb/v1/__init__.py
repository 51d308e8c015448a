"""The generated messages and enums of the schema, all in one place.

The gRPC stubs and servicers are in `chatpb.v1.chat_completion_service_pb2_grpc`,
`chatpb.v1.model_service_pb2_grpc` and `chatpb.v1.stored_chat_completion_service_pb2_grpc`, which
need grpcio. A module is imported when one of its names is first used.
"""

from chatpb._public import imported_later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chatpb.v1.annotation_pb2 import (
        Annotation,
        UrlCitation,
    )
    from chatpb.v1.chat_completion_audio_pb2 import (
        ChatCompletionAudio,
    )
    from chatpb.v1.chat_completion_chunk_pb2 import (
        ChatCompletionChunk,
        ChoiceDelta,
        ChunkChoice,
    )
    from chatpb.v1.chat_completion_message_param_pb2 import (
        ChatCompletionMessageParam,
        ContentPart,
        ContentPartType,
        ImageDetail,
        ImageUrl,
        InputAudio,
        InputAudioFormat,
        InputFile,
        MessageContent,
        PromptCacheBreakpoint,
        PromptCacheMode,
        PromptCacheTtl,
    )
    from chatpb.v1.chat_completion_pb2 import (
        ChatCompletion,
        ChatCompletionMessage,
        Choice,
        MatchedStop,
    )
    from chatpb.v1.chat_completion_request_pb2 import (
        ApproximateLocation,
        AudioFormat,
        AudioParam,
        ChatCompletionRequest,
        CustomVoice,
        Modality,
        ModerationMode,
        ModerationParam,
        ModerationPolicy,
        ModerationPolicyRule,
        PredictionContent,
        PromptCacheOptions,
        PromptCacheRetention,
        ReasoningEffort,
        SearchContextSize,
        Stop,
        StreamOptions,
        UserLocation,
        Verbosity,
        Voice,
        WebSearchOptions,
    )
    from chatpb.v1.chat_completion_service_pb2 import (
        CreateChatCompletionRequest,
        CreateChatCompletionResponse,
        StreamChatCompletionRequest,
        StreamChatCompletionResponse,
    )
    from chatpb.v1.completion_record_pb2 import (
        CompletionRecord,
        LogEncryption,
        LogHeader,
        RecordKept,
        SealedFrame,
    )
    from chatpb.v1.completion_usage_pb2 import (
        CompletionTokensDetails,
        CompletionUsage,
        PromptTokensDetails,
        UsageCost,
    )
    from chatpb.v1.error_pb2 import (
        Error,
        ErrorResponse,
        Misalignment,
        MisalignmentSteer,
    )
    from chatpb.v1.finish_reason_pb2 import (
        FinishReason,
    )
    from chatpb.v1.logprobs_pb2 import (
        ChatCompletionTokenLogprob,
        ChoiceLogprobs,
        TopLogprob,
    )
    from chatpb.v1.model_pb2 import (
        Model,
        ModelList,
    )
    from chatpb.v1.model_service_pb2 import (
        GetModelRequest,
        GetModelResponse,
        ListModelsRequest,
        ListModelsResponse,
    )
    from chatpb.v1.moderation_pb2 import (
        Moderation,
        ModerationInputType,
        ModerationInputTypes,
        ModerationOutcome,
        ModerationOutcomeType,
        ModerationResult,
    )
    from chatpb.v1.options_pb2 import (
        Fold,
        JsonEncoding,
    )
    from chatpb.v1.residue_pb2 import (
        Residue,
    )
    from chatpb.v1.response_format_pb2 import (
        JsonSchema,
        ResponseFormat,
        ResponseFormatType,
    )
    from chatpb.v1.role_pb2 import (
        Role,
    )
    from chatpb.v1.service_tier_pb2 import (
        ServiceTier,
    )
    from chatpb.v1.stored_chat_completion_pb2 import (
        ChatCompletionDeleted,
        ChatCompletionList,
        ChatCompletionStoreMessage,
        ChatCompletionStoreMessageList,
        ChatCompletionUpdate,
    )
    from chatpb.v1.stored_chat_completion_service_pb2 import (
        DeleteStoredChatCompletionRequest,
        DeleteStoredChatCompletionResponse,
        GetStoredChatCompletionRequest,
        GetStoredChatCompletionResponse,
        ListStoredChatCompletionMessagesRequest,
        ListStoredChatCompletionMessagesResponse,
        ListStoredChatCompletionsRequest,
        ListStoredChatCompletionsResponse,
        SortOrder,
        UpdateStoredChatCompletionMetadataRequest,
        UpdateStoredChatCompletionMetadataResponse,
    )
    from chatpb.v1.tool_call_pb2 import (
        CustomToolCall,
        FunctionCall,
        ToolCall,
        ToolType,
    )
    from chatpb.v1.tool_pb2 import (
        AllowedTools,
        CustomTool,
        CustomToolFormat,
        CustomToolFormatType,
        FunctionCallMode,
        FunctionCallOption,
        FunctionDefinition,
        Grammar,
        GrammarSyntax,
        NamedToolChoice,
        Tool,
        ToolChoice,
        ToolChoiceMode,
        ToolChoiceType,
        ToolName,
    )
else:
    __getattr__, __dir__ = imported_later(
        "chatpb.v1",
        {
            "annotation_pb2": "Annotation UrlCitation",
            "chat_completion_audio_pb2": "ChatCompletionAudio",
            "chat_completion_chunk_pb2": "ChatCompletionChunk ChoiceDelta ChunkChoice",
            "chat_completion_message_param_pb2": (
                "ChatCompletionMessageParam ContentPart ContentPartType ImageDetail ImageUrl "
                "InputAudio InputAudioFormat InputFile MessageContent PromptCacheBreakpoint "
                "PromptCacheMode PromptCacheTtl"
            ),
            "chat_completion_pb2": "ChatCompletion ChatCompletionMessage Choice MatchedStop",
            "chat_completion_request_pb2": (
                "ApproximateLocation AudioFormat AudioParam ChatCompletionRequest CustomVoice "
                "Modality ModerationMode ModerationParam ModerationPolicy ModerationPolicyRule "
                "PredictionContent PromptCacheOptions PromptCacheRetention ReasoningEffort "
                "SearchContextSize Stop StreamOptions UserLocation Verbosity Voice "
                "WebSearchOptions"
            ),
            "chat_completion_service_pb2": (
                "CreateChatCompletionRequest CreateChatCompletionResponse "
                "StreamChatCompletionRequest StreamChatCompletionResponse"
            ),
            "completion_record_pb2": (
                "CompletionRecord LogEncryption LogHeader RecordKept SealedFrame"
            ),
            "completion_usage_pb2": (
                "CompletionTokensDetails CompletionUsage PromptTokensDetails UsageCost"
            ),
            "error_pb2": "Error ErrorResponse Misalignment MisalignmentSteer",
            "finish_reason_pb2": "FinishReason",
            "logprobs_pb2": "ChatCompletionTokenLogprob ChoiceLogprobs TopLogprob",
            "model_pb2": "Model ModelList",
            "model_service_pb2": (
                "GetModelRequest GetModelResponse ListModelsRequest ListModelsResponse"
            ),
            "moderation_pb2": (
                "Moderation ModerationInputType ModerationInputTypes ModerationOutcome "
                "ModerationOutcomeType ModerationResult"
            ),
            "options_pb2": "Fold JsonEncoding",
            "residue_pb2": "Residue",
            "response_format_pb2": "JsonSchema ResponseFormat ResponseFormatType",
            "role_pb2": "Role",
            "service_tier_pb2": "ServiceTier",
            "stored_chat_completion_pb2": (
                "ChatCompletionDeleted ChatCompletionList ChatCompletionStoreMessage "
                "ChatCompletionStoreMessageList ChatCompletionUpdate"
            ),
            "stored_chat_completion_service_pb2": (
                "DeleteStoredChatCompletionRequest DeleteStoredChatCompletionResponse "
                "GetStoredChatCompletionRequest GetStoredChatCompletionResponse "
                "ListStoredChatCompletionMessagesRequest ListStoredChatCompletionMessagesResponse "
                "ListStoredChatCompletionsRequest ListStoredChatCompletionsResponse SortOrder "
                "UpdateStoredChatCompletionMetadataRequest "
                "UpdateStoredChatCompletionMetadataResponse"
            ),
            "tool_call_pb2": "CustomToolCall FunctionCall ToolCall ToolType",
            "tool_pb2": (
                "AllowedTools CustomTool CustomToolFormat CustomToolFormatType FunctionCallMode "
                "FunctionCallOption FunctionDefinition Grammar GrammarSyntax NamedToolChoice Tool "
                "ToolChoice ToolChoiceMode ToolChoiceType ToolName"
            ),
        },
        published=False,
    )

__all__ = [
    "AllowedTools",
    "Annotation",
    "ApproximateLocation",
    "AudioFormat",
    "AudioParam",
    "ChatCompletion",
    "ChatCompletionAudio",
    "ChatCompletionChunk",
    "ChatCompletionDeleted",
    "ChatCompletionList",
    "ChatCompletionMessage",
    "ChatCompletionMessageParam",
    "ChatCompletionRequest",
    "ChatCompletionStoreMessage",
    "ChatCompletionStoreMessageList",
    "ChatCompletionTokenLogprob",
    "ChatCompletionUpdate",
    "Choice",
    "ChoiceDelta",
    "ChoiceLogprobs",
    "ChunkChoice",
    "CompletionRecord",
    "CompletionTokensDetails",
    "CompletionUsage",
    "ContentPart",
    "ContentPartType",
    "CreateChatCompletionRequest",
    "CreateChatCompletionResponse",
    "CustomTool",
    "CustomToolCall",
    "CustomToolFormat",
    "CustomToolFormatType",
    "CustomVoice",
    "DeleteStoredChatCompletionRequest",
    "DeleteStoredChatCompletionResponse",
    "Error",
    "ErrorResponse",
    "FinishReason",
    "Fold",
    "FunctionCall",
    "FunctionCallMode",
    "FunctionCallOption",
    "FunctionDefinition",
    "GetModelRequest",
    "GetModelResponse",
    "GetStoredChatCompletionRequest",
    "GetStoredChatCompletionResponse",
    "Grammar",
    "GrammarSyntax",
    "ImageDetail",
    "ImageUrl",
    "InputAudio",
    "InputAudioFormat",
    "InputFile",
    "JsonEncoding",
    "JsonSchema",
    "ListModelsRequest",
    "ListModelsResponse",
    "ListStoredChatCompletionMessagesRequest",
    "ListStoredChatCompletionMessagesResponse",
    "ListStoredChatCompletionsRequest",
    "ListStoredChatCompletionsResponse",
    "LogEncryption",
    "LogHeader",
    "MatchedStop",
    "MessageContent",
    "Misalignment",
    "MisalignmentSteer",
    "Modality",
    "Model",
    "ModelList",
    "Moderation",
    "ModerationInputType",
    "ModerationInputTypes",
    "ModerationMode",
    "ModerationOutcome",
    "ModerationOutcomeType",
    "ModerationParam",
    "ModerationPolicy",
    "ModerationPolicyRule",
    "ModerationResult",
    "NamedToolChoice",
    "PredictionContent",
    "PromptCacheBreakpoint",
    "PromptCacheMode",
    "PromptCacheOptions",
    "PromptCacheRetention",
    "PromptCacheTtl",
    "PromptTokensDetails",
    "ReasoningEffort",
    "RecordKept",
    "Residue",
    "ResponseFormat",
    "ResponseFormatType",
    "Role",
    "SealedFrame",
    "SearchContextSize",
    "ServiceTier",
    "SortOrder",
    "Stop",
    "StreamChatCompletionRequest",
    "StreamChatCompletionResponse",
    "StreamOptions",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolChoiceMode",
    "ToolChoiceType",
    "ToolName",
    "ToolType",
    "TopLogprob",
    "UpdateStoredChatCompletionMetadataRequest",
    "UpdateStoredChatCompletionMetadataResponse",
    "UrlCitation",
    "UsageCost",
    "UserLocation",
    "Verbosity",
    "Voice",
    "WebSearchOptions",
]
