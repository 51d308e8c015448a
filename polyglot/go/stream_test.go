package chatpb_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

func TestStreamVectors(t *testing.T) {
	for _, vector := range load(t, "stream") {
		t.Run(vector.Name, func(t *testing.T) {
			if err := vector.CheckStream(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFoldNothing(t *testing.T) {
	_, err := chatpb.Fold(nil)
	if found := fault(t, err); found.Reason != "expected at least one chunk, got none" {
		t.Error(found)
	}
}

func TestFolderGoesOn(t *testing.T) {
	folder := chatpb.NewFolder()
	for i, expected := range []string{"a", "ab", "abc"} {
		if err := folder.Add(chunkOf("x", expected[i:])); err != nil {
			t.Fatal(err)
		}
		completion := must[*chatpbv1.ChatCompletion](t)(folder.Completion())
		if found := completion.GetChoices()[0].GetMessage().GetContent(); found != expected {
			t.Error(found)
		}
	}
}

func TestFoldRefusesWhatHasNoJSON(t *testing.T) {
	chunk := chunkOf("x", "a")
	chunk.Choices[0].Delta.ProtoReflect().SetUnknown([]byte{0xc0, 0x3e, 1})
	_, err := chatpb.Fold([]*chatpbv1.ChatCompletionChunk{chunk})
	if found := fault(t, err); found.Path != "$.choices[0].delta" {
		t.Error(found)
	}
	if _, err := chatpb.Fold([]*chatpbv1.ChatCompletionChunk{chunk}, chatpb.IgnoreUnknownFields()); err != nil {
		t.Error(err)
	}
}

func TestRestorerKeepsToItself(t *testing.T) {
	whole, compact := chunkOf("a", "b"), chunkOf("", "c")
	response := &chatpbv1.StreamChatCompletionResponse{
		Chunks: []*chatpbv1.ChatCompletionChunk{whole}, CompactChunks: []*chatpbv1.ChatCompletionChunk{compact, compact},
	}
	var restorer chatpb.Restorer
	for chunk, err := range restorer.Chunks(response) {
		if err != nil || chunk.GetId() != "a" {
			t.Error(chunk, err)
		}
		proto.Reset(chunk)
	}
	if !proto.Equal(chunkOf("a", "b"), whole) || !proto.Equal(chunkOf("", "c"), compact) {
		t.Error(response)
	}
}

// Streams that cost more than they should if anything is not linear.
func TestStreamsInLinearTime(t *testing.T) {
	const count = 8_000
	for name, member := range map[string]string{
		"content":   `"content":"ab"`,
		"name":      `"tool_calls":[{"index":0,"function":{"name":"a"}}]`,
		"arguments": `"tool_calls":[{"index":0,"function":{"arguments":"ab"}}]`,
		"calls":     `"tool_calls":[{"index":%d,"id":"%[1]d","function":{"name":"a"}}]`,
		"unknown":   `"x":[{"index":%d,"text":"a"}]`,
		"members":   `"x%d":1`,
	} {
		start := time.Now()
		var stream strings.Builder
		for i := range count {
			if strings.Contains(member, "%") {
				fmt.Fprintf(&stream, `data: {"choices":[{"index":0,"delta":{`+member+"}}]}\n\n", i)
			} else {
				stream.WriteString(`data: {"choices":[{"index":0,"delta":{` + member + "}}]}\n\n")
			}
		}
		folder := chatpb.NewFolder()
		for chunk, err := range chatpb.NewChunkReader(strings.NewReader(stream.String())).All() {
			if err == nil {
				err = folder.Add(chunk)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := folder.Completion(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: %s", name, took)
		}
	}
}

func TestReaderGivesErrorsOfReading(t *testing.T) {
	event := "data: {\"id\":\"a\"}\n\n"
	reader := chatpb.NewChunkReader(io.MultiReader(strings.NewReader(event), brokenReader{}))
	if chunk, err := reader.Next(); err != nil || chunk.GetId() != "a" {
		t.Error(chunk, err)
	}
	for range 2 {
		if _, err := reader.Next(); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Folding what unfolding gives is the completion, in its normal form.
func FuzzUnfold(f *testing.F) {
	addVectors(f, "", "json")
	for _, vector := range load(f, "stream") {
		if text, err := vector.File("json"); err == nil {
			f.Add(text, uint8(0))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, _ uint8) {
		completion := &chatpbv1.ChatCompletion{}
		if chatpb.FromJSON(text, completion, chatpb.AllowNaN()) != nil {
			return
		}
		chunks, err := chatpb.Unfold(completion)
		if err != nil {
			if fault(t, err).Reason == "nested deeper than 200 levels" {
				return // chunks may have a level more
			}
			t.Fatal(err)
		}
		folded := must[*chatpbv1.ChatCompletion](t)(chatpb.Fold(chunks))
		expected, found := must[[]byte](t)(chatpb.Marshal(completion)), must[[]byte](t)(chatpb.Marshal(folded))
		if !bytes.Equal(expected, found) {
			t.Fatalf("%q became %v", text, folded)
		}
	})
}

// A decoder gives the same for any pieces, and folding what it gives never fails.
func FuzzChunkDecoder(f *testing.F) {
	for _, vector := range load(f, "stream") {
		if data, err := vector.File("sse"); err == nil {
			f.Add(data, uint8(3))
		} else if lines, err := vector.File("jsonl"); err == nil {
			f.Add(append([]byte("data: "), bytes.ReplaceAll(lines, []byte("\n"), []byte("\n\ndata: "))...), uint8(9))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		decode := func(size int) ([]*chatpbv1.ChatCompletionChunk, *chatpb.ChunkDecoder, error) {
			decoder := chatpb.NewChunkDecoder(chatpb.MaxEventBytes(1000))
			var all []*chatpbv1.ChatCompletionChunk
			for rest := data; len(rest) > 0; {
				piece := rest[:min(size, len(rest))]
				rest = rest[len(piece):]
				chunks, err := decoder.Feed(piece)
				if all = append(all, chunks...); err != nil {
					return all, decoder, err
				}
			}
			chunks, err := decoder.Close()
			return append(all, chunks...), decoder, err
		}
		chunks, decoder, err := decode(len(data) + 1)
		again, other, failure := decode(int(size) + 1)
		if fmt.Sprint(err) != fmt.Sprint(failure) || len(chunks) != len(again) {
			t.Fatalf("%q: %v, not %v", data, failure, err)
		}
		for i := range chunks {
			if !proto.Equal(chunks[i], again[i]) {
				t.Fatalf("%q: %v, not %v", data, again[i], chunks[i])
			}
		}
		if !proto.Equal(decoder.Error(), other.Error()) || decoder.IsErrorOfChoice() != other.IsErrorOfChoice() ||
			decoder.IsDone() != other.IsDone() {
			t.Fatalf("%q", data)
		}
		if len(chunks) > 0 {
			folded, err := chatpb.Fold(chunks)
			if err != nil && fault(t, err).Reason != "nested deeper than 200 levels" {
				t.Fatal(err)
			}
			if err == nil {
				must[[]byte](t)(chatpb.ToJSON(folded, chatpb.AllowNaN()))
			}
		}
	})
}
