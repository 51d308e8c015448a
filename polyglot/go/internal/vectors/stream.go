package vectors

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// Stream is what the manifest of streams has about a vector, in addition to what all manifests have.
type Stream struct {
	Kind            string   `json:"kind"`
	AllowNaN        bool     `json:"allow_nan"`
	Chunks          []string `json:"chunks"` // in hexadecimal
	Error           *string  `json:"error"`
	IsErrorOfChoice bool     `json:"is_error_of_choice"`
	IsDone          bool     `json:"is_done"`
	MaxEventBytes   int      `json:"max_event_bytes"`
}

// CheckStream checks the laws of a vector of stream/manifest.json.
func (v Vector) CheckStream() error {
	check, ok := map[string]func() error{
		"fold": v.checkFold, "unfold": v.checkUnfold, "compact": v.checkCompact, "sse": v.checkSSE,
	}[v.Kind]
	if !ok {
		return fmt.Errorf("unknown kind %q", v.Kind)
	}
	return check()
}

func (v Vector) checkFold() error {
	expected, err := v.File("binpb")
	if err != nil {
		return err
	}
	texts, err := v.File("jsonl")
	if err != nil {
		return err
	}
	var chunks []*chatpbv1.ChatCompletionChunk
	for _, line := range bytes.Split(bytes.TrimSuffix(texts, []byte("\n")), []byte("\n")) {
		chunk := &chatpbv1.ChatCompletionChunk{}
		if err := v.readJSON(line, chunk); err != nil {
			return err
		}
		chunks = append(chunks, chunk)
	}
	completion, err := chatpb.Fold(chunks)
	if err != nil {
		return err
	}
	if err := same(expected, completion); err != nil {
		return err
	}
	if chunks, err = chatpb.Unfold(completion); err != nil {
		return err
	}
	if completion, err = chatpb.Fold(chunks); err != nil {
		return err
	}
	if err := same(expected, completion); err != nil {
		return fmt.Errorf("unfolded and folded again: %w", err)
	}
	return nil
}

func (v Vector) checkUnfold() error {
	text, err := v.File("json")
	if err != nil {
		return err
	}
	completion := &chatpbv1.ChatCompletion{}
	if err := v.readJSON(text, completion); err != nil {
		return err
	}
	expected, err := v.File("binpbs")
	if err != nil {
		return err
	}
	chunks, err := chatpb.Unfold(completion)
	if err != nil {
		return err
	}
	return sameChunks(expected, chunks)
}

func (v Vector) checkCompact() error {
	data, err := v.File("binpbs")
	if err != nil {
		return err
	}
	expected, err := v.File("chunks.binpbs")
	if err != nil {
		return err
	}
	var restorer chatpb.Restorer
	var chunks []*chatpbv1.ChatCompletionChunk
	for reader := bytes.NewReader(data); reader.Len() > 0; {
		response := &chatpbv1.StreamChatCompletionResponse{}
		if err := protodelim.UnmarshalFrom(reader, response); err != nil {
			return err
		}
		for chunk, err := range restorer.Chunks(response) {
			if err != nil {
				if err := v.sameReason(err); err != nil {
					return err
				}
				return sameChunks(expected, chunks)
			}
			chunks = append(chunks, chunk)
		}
	}
	if err := v.sameReason(nil); err != nil {
		return err
	}
	return sameChunks(expected, chunks)
}

func (v Vector) checkSSE() error {
	data, err := v.File("sse")
	if err != nil {
		return err
	}
	options := []chatpb.Option{chatpb.MaxEventBytes(v.MaxEventBytes)}
	if v.AllowNaN {
		options = append(options, chatpb.AllowNaN())
	}
	for _, size := range []int{len(data) + 1, 1, 7} {
		decoder := chatpb.NewChunkDecoder(options...)
		var chunks []*chatpbv1.ChatCompletionChunk
		var failure error
		for piece := range slices.Chunk(data, size) {
			var more []*chatpbv1.ChatCompletionChunk
			more, failure = decoder.Feed(piece)
			if chunks = append(chunks, more...); failure != nil {
				break
			}
		}
		if failure == nil {
			var more []*chatpbv1.ChatCompletionChunk
			more, failure = decoder.Close()
			chunks = append(chunks, more...)
		}
		if err := v.sameEvents(decoder, chunks, failure); err != nil {
			return fmt.Errorf("in pieces of %d bytes: %w", size, err)
		}
	}
	return v.checkReader(iotest.OneByteReader(bytes.NewReader(data)), options)
}

func (v Vector) sameEvents(
	decoder *chatpb.ChunkDecoder, chunks []*chatpbv1.ChatCompletionChunk, failure error,
) error {
	if err := v.sameReason(failure); err != nil {
		return err
	}
	if err := v.sameAsStated(chunks); err != nil {
		return err
	}
	if v.Error == nil {
		if decoder.Error() != nil {
			return fmt.Errorf("expected no error, got %v", decoder.Error())
		}
	} else if expected, err := hex.DecodeString(*v.Error); err != nil {
		return err
	} else if err := same(expected, decoder.Error()); err != nil {
		return fmt.Errorf("the error: %w", err)
	}
	if decoder.IsErrorOfChoice() != v.IsErrorOfChoice || decoder.IsDone() != v.IsDone {
		return fmt.Errorf("of a choice: %t, done: %t", decoder.IsErrorOfChoice(), decoder.IsDone())
	}
	return nil
}

// checkReader checks that a reader gives the same as a decoder.
func (v Vector) checkReader(r io.Reader, options []chatpb.Option) error {
	reader := chatpb.NewChunkReader(r, options...)
	var chunks []*chatpbv1.ChatCompletionChunk
	var failure error
	for chunk, err := range reader.All() {
		if failure = err; err == nil {
			chunks = append(chunks, chunk)
		}
	}
	var stated *chatpb.StreamError
	if errors.As(failure, &stated) {
		if v.Error == nil || stated.IsOfChoice != v.IsErrorOfChoice {
			return failure
		}
		failure = nil
	} else if v.Error != nil && failure == nil {
		return errors.New("the reader gives no error")
	}
	if err := v.sameReason(failure); err != nil {
		return err
	}
	return v.sameAsStated(chunks)
}

func (v Vector) readJSON(text []byte, m proto.Message) error {
	if v.AllowNaN {
		return chatpb.FromJSON(text, m, chatpb.AllowNaN())
	}
	return chatpb.FromJSON(text, m)
}

// sameReason checks why something failed, or that it did not.
func (v Vector) sameReason(err error) error {
	var fault *chatpb.ConversionError
	switch {
	case err == nil && v.Reason == "":
		return nil
	case !errors.As(err, &fault):
		return fmt.Errorf("expected an error with the reason %q, got %w", v.Reason, err)
	case fault.Reason != v.Reason:
		return fmt.Errorf("expected the reason %q, got %q", v.Reason, fault.Reason)
	case v.Kind == "sse" && (v.Path != fault.Path || v.offset() != fault.Offset):
		return fmt.Errorf("expected %s (byte %d), got %w", v.Path, v.offset(), err)
	}
	return nil
}

func (v Vector) offset() int {
	if v.Offset == nil {
		return chatpb.NoOffset
	}
	return *v.Offset
}

func (v Vector) sameAsStated(chunks []*chatpbv1.ChatCompletionChunk) error {
	if len(v.Chunks) != len(chunks) {
		return fmt.Errorf("expected %d chunks, got %d", len(v.Chunks), len(chunks))
	}
	for i, chunk := range chunks {
		expected, err := hex.DecodeString(v.Chunks[i])
		if err != nil {
			return err
		}
		if err := same(expected, chunk); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	return nil
}

// same checks that a message has these bytes.
func same(expected []byte, m proto.Message) error {
	found, err := chatpb.Marshal(m)
	if err == nil && !bytes.Equal(expected, found) {
		err = fmt.Errorf("expected the bytes %x, got %x", expected, found)
	}
	return err
}

// sameChunks checks that chunks have these bytes, each after its length.
func sameChunks(expected []byte, chunks []*chatpbv1.ChatCompletionChunk) error {
	var found bytes.Buffer
	for _, chunk := range chunks {
		options := protodelim.MarshalOptions{}
		options.Deterministic = true
		if _, err := options.MarshalTo(&found, chunk); err != nil {
			return err
		}
	}
	if !bytes.Equal(expected, found.Bytes()) {
		return fmt.Errorf("expected the chunks %x, got %x", expected, found.Bytes())
	}
	return nil
}
