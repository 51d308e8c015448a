package chatpb_test

import (
	"errors"
	"fmt"
	"strings"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

const exampleStream = `data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}

data: [DONE]

`

func ExampleFromJSON_error() {
	err := chatpb.FromJSON([]byte(`{"choices":[{"index":nope}]}`), &chatpbv1.ChatCompletion{})
	var fault *chatpb.ConversionError
	if errors.As(err, &fault) {
		fmt.Println(fault.Path, fault.Offset, fault.Reason)
	}
	// Output: $.choices[0].index 21 expected a value, got 'nope}]}'
}

func ExampleJSONToBinary() {
	text := []byte(`{"id":"chatcmpl-1","object":"chat.completion.deleted","deleted":true}`)
	data, err := chatpb.JSONToBinary(text, (*chatpbv1.ChatCompletionDeleted)(nil))
	if err != nil {
		fmt.Println(err)
	}
	written, err := chatpb.BinaryToJSON(data, (*chatpbv1.ChatCompletionDeleted)(nil))
	fmt.Println(len(data), string(written), err)
	// Output: 14 {"object":"chat.completion.deleted","id":"chatcmpl-1","deleted":true} <nil>
}

func ExampleChunkReader() {
	reader := chatpb.NewChunkReader(strings.NewReader(exampleStream))
	for chunk, err := range reader.All() {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(chunk.GetChoices()[0].GetDelta().GetContent(), " ")
	}
	fmt.Println(reader.IsDone())
	// Output: Hel lo true
}

func ExampleFolder() {
	folder := chatpb.NewFolder()
	for chunk, err := range chatpb.NewChunkReader(strings.NewReader(exampleStream)).All() {
		if err == nil {
			err = folder.Add(chunk)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	completion, err := folder.Completion()
	choice := completion.GetChoices()[0]
	fmt.Println(choice.GetMessage().GetContent(), choice.GetFinishReason(), err)
	// Output: Hello FINISH_REASON_STOP <nil>
}

func ExampleUnfold() {
	completion := &chatpbv1.ChatCompletion{}
	text := `{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}`
	if err := chatpb.FromJSON([]byte(text), completion); err != nil {
		fmt.Println(err)
	}
	chunks, err := chatpb.Unfold(completion)
	for _, chunk := range chunks {
		written, _ := chatpb.ToJSON(chunk)
		fmt.Println(string(written))
	}
	again, folding := chatpb.Fold(chunks)
	written, writing := chatpb.ToJSON(again)
	fmt.Println(string(written) == text, errors.Join(err, folding, writing))
	// Output:
	// {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}
	// {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
	// {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
	// true <nil>
}

func ExampleRestorer() {
	var restorer chatpb.Restorer
	response := &chatpbv1.StreamChatCompletionResponse{
		Chunks:        []*chatpbv1.ChatCompletionChunk{chunkOf("chatcmpl-1", "Hel")},
		CompactChunks: []*chatpbv1.ChatCompletionChunk{chunkOf("", "lo")},
	}
	for chunk, err := range restorer.Chunks(response) {
		fmt.Println(chunk.GetId(), chunk.GetChoices()[0].GetDelta().GetContent(), err)
	}
	// Output:
	// chatcmpl-1 Hel <nil>
	// chatcmpl-1 lo <nil>
}
