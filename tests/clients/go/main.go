// Runs cases against base URLs with two clients for Go, and prints what they give as JSON.
//
// The arguments are the client (openai-go or go-openai), a file of cases, the names of those to
// run, and the base URLs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	other "github.com/sashabaranov/go-openai"
)

// A Case is what to ask, and how.
type Case struct {
	Name    string
	Do      string
	Request map[string]any
}

// The time limit of the case "timeout", and of all others.
const (
	short = time.Second
	long  = time.Minute
)

// body is the request of a case; extra members are added to it.
func (c Case) body(extra map[string]any) []byte {
	members := map[string]any{"model": "ft:gpt-4o:" + c.Name}
	for name, value := range c.Request {
		members[name] = value
	}
	for name, value := range extra {
		members[name] = value
	}
	return must(json.Marshal(members))
}

func (c Case) limit() time.Duration {
	if c.Name == "timeout" {
		return short
	}
	return long
}

// structured is the response format of the case "structured".
var structured = map[string]any{"response_format": map[string]any{
	"type": "json_schema",
	"json_schema": map[string]any{
		"name": "point", "strict": true,
		"schema": map[string]any{
			"type":                 "object",
			"properties":           map[string]any{"x": map[string]any{"type": "integer"}, "y": map[string]any{"type": "integer"}},
			"required":             []string{"x", "y"},
			"additionalProperties": false,
		},
	},
}}

// A Point is what the model answers in that case.
type Point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func official(url string, c Case) (any, error) {
	client := openai.NewClient(
		option.WithBaseURL(url), option.WithAPIKey("key"), option.WithMaxRetries(0),
		option.WithRequestTimeout(c.limit()),
	)
	extra := map[string]any{}
	if c.Do == "structured" {
		extra = structured
	}
	var params openai.ChatCompletionNewParams
	if err := json.Unmarshal(c.body(extra), &params); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.Do == "create" || c.Do == "structured" {
		answer, err := client.Chat.Completions.New(ctx, params)
		if err != nil {
			return nil, err
		}
		found := map[string]any{"completion": answer, "raw": json.RawMessage(answer.RawJSON())}
		if c.Do == "structured" {
			var point Point
			err = json.Unmarshal([]byte(answer.Choices[0].Message.Content), &point)
			found["point"] = point
		}
		return found, err
	}
	stream := client.Chat.Completions.NewStreaming(ctx, params)
	defer stream.Close()
	chunks, folded := []any{}, openai.ChatCompletionAccumulator{}
	for stream.Next() {
		chunk := stream.Current()
		chunks = append(chunks, json.RawMessage(chunk.RawJSON()))
		folded.AddChunk(chunk)
		if c.Do == "cancel" {
			return chunks, nil
		}
	}
	return map[string]any{"chunks": chunks, "folded": folded.ChatCompletion}, stream.Err()
}

func community(url string, c Case) (any, error) {
	config := other.DefaultConfig("key")
	config.BaseURL = url
	client := other.NewClientWithConfig(config)
	extra := map[string]any{}
	if c.Do == "structured" {
		extra = structured
	}
	request, err := read(c.body(extra))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit())
	defer cancel()
	if c.Do == "create" || c.Do == "structured" {
		answer, err := client.CreateChatCompletion(ctx, request)
		return map[string]any{"completion": answer, "limits": answer.GetRateLimitHeaders().RemainingTokens}, err
	}
	stream, err := client.CreateChatCompletionStream(ctx, request)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	chunks := []any{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks, nil
		}
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
		if c.Do == "cancel" {
			return chunks, nil
		}
	}
}

// read makes a request from JSON; go-openai has no reader for a schema, which is an interface.
func read(body []byte) (other.ChatCompletionRequest, error) {
	var request other.ChatCompletionRequest
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return request, err
	}
	format, found := members["response_format"]
	delete(members, "response_format")
	if err := json.Unmarshal(must(json.Marshal(members)), &request); err != nil || !found {
		return request, err
	}
	var schema struct {
		JSONSchema struct{ Schema json.RawMessage } `json:"json_schema"`
	}
	err := json.Unmarshal(format, &schema)
	request.ResponseFormat = &other.ChatCompletionResponseFormat{
		Type: other.ChatCompletionResponseFormatTypeJSONSchema,
		JSONSchema: &other.ChatCompletionResponseFormatJSONSchema{
			Name: "point", Strict: true, Schema: schema.JSONSchema.Schema,
		},
	}
	return request, err
}

// failure is an error, with what callers read from it.
func failure(err error) map[string]any {
	found := map[string]any{"class": fmt.Sprintf("%T", err), "timeout": errors.Is(err, context.DeadlineExceeded)}
	var answered *openai.Error
	var said *other.APIError
	switch {
	case errors.As(err, &answered):
		found["status"] = answered.StatusCode
		found["error"] = json.RawMessage(answered.RawJSON())
		found["retry-after"] = answered.Response.Header.Get("retry-after")
		found["request-id"] = answered.Response.Header.Get("x-request-id")
	case errors.As(err, &said):
		found["status"], found["error"] = said.HTTPStatusCode, said
	case !errors.Is(err, context.DeadlineExceeded): // the text of a timeout has the URL
		found["text"] = err.Error()
	}
	return found
}

func main() {
	run := map[string]func(string, Case) (any, error){"openai-go": official, "go-openai": community}[os.Args[1]]
	var cases []Case
	if err := json.Unmarshal(must(os.ReadFile(os.Args[2])), &cases); err != nil {
		panic(err)
	}
	results := []map[string]any{}
	for _, url := range os.Args[4:] {
		outcomes := map[string]any{}
		for _, c := range cases {
			if !strings.Contains(","+os.Args[3]+",", ","+c.Name+",") {
				continue
			}
			if value, err := run(url, c); err != nil {
				outcomes[c.Name] = map[string]any{"failed": failure(err)}
			} else {
				outcomes[c.Name] = map[string]any{"value": value}
			}
		}
		results = append(results, outcomes)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(results); err != nil {
		panic(err)
	}
	fmt.Print(out.String())
}
