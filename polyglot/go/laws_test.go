package chatpb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
	"github.com/chatpb/chatpb-go/internal/jsonvalue"
)

// kinds are the types that texts and bytes of fuzzing are read as.
var kinds = []proto.Message{
	&chatpbv1.ChatCompletion{},
	&chatpbv1.ChatCompletionChunk{},
	&chatpbv1.ChatCompletionRequest{},
	&chatpbv1.ErrorResponse{},
	&chatpbv1.ChatCompletionTokenLogprob{},
	&chatpbv1.ChatCompletionList{},
}

func kindOf(number uint8) proto.Message {
	return kinds[int(number)%len(kinds)].ProtoReflect().New().Interface()
}

func addVectors(f *testing.F, below, ending string) {
	for _, vector := range load(f, below) {
		data, err := vector.File(ending)
		if err != nil {
			continue // the manifest has vectors of both forms
		}
		number := 0
		for i, kind := range kinds {
			if string(kind.ProtoReflect().Descriptor().FullName()) == vector.MessageType {
				number = i
			}
		}
		f.Add(data, uint8(number))
	}
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// What is read is written as the same JSON value, and is in its normal form; what is refused is not
// JSON, or says what else it is.
func FuzzFromJSON(f *testing.F) {
	addVectors(f, "", "json")
	addVectors(f, "invalid", "json")
	f.Fuzz(func(t *testing.T, text []byte, number uint8) {
		m := kindOf(number)
		isJSON := json.Valid(bytes.TrimPrefix(text, byteOrderMark))
		if err := chatpb.FromJSON(text, m); err != nil {
			checkRefusal(t, err, text, isJSON)
			return
		}
		if !isJSON {
			t.Fatalf("what is not JSON was read: %q", text)
		}
		written, err := chatpb.ToJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		if found := jsonvalue.Difference(text, written); found != "" {
			t.Fatalf("%s\n%s\n%s", found, text, written)
		}
		checkNormal(t, m, written)
	})
}

func checkRefusal(t *testing.T, err error, text []byte, isJSON bool) {
	t.Helper()
	var fault *chatpb.ConversionError
	if !errors.As(err, &fault) {
		t.Fatal(err)
	}
	if fault.Offset < 0 || fault.Offset > len(text) || !strings.HasPrefix(fault.Path, "$") {
		t.Fatalf("no place: %v", fault)
	}
	for _, reason := range []string{"not UTF-8", "nested deeper", "expected an object"} {
		isJSON = isJSON && !strings.HasPrefix(fault.Reason, reason)
	}
	if isJSON {
		t.Fatalf("refused, though it is JSON: %v: %q", err, text)
	}
}

// checkNormal checks that JSON gives the message, in its normal form.
func checkNormal(t *testing.T, expected proto.Message, written []byte) {
	t.Helper()
	again := expected.ProtoReflect().New().Interface()
	if err := chatpb.FromJSON(written, again); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(expected, again) {
		t.Fatalf("not in its normal form\n%v\n%v", expected, again)
	}
	first, err := chatpb.Marshal(expected)
	if err != nil {
		t.Fatal(err)
	}
	second, err := chatpb.Marshal(again)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("other bytes: %x, not %x (%v)", second, first, err)
	}
}

// A message that can be written has a normal form, which is written as the same JSON value.
func FuzzToJSON(f *testing.F) {
	addVectors(f, "", "binpb")
	addVectors(f, "invalid", "binpb")
	addVectors(f, "binary", "binpb")
	f.Fuzz(func(t *testing.T, data []byte, number uint8) {
		m := kindOf(number)
		if err := chatpb.Unmarshal(data, m); err != nil {
			return
		}
		if written, err := chatpb.ToJSON(m, chatpb.AllowNaN(), chatpb.IgnoreUnknownFields()); err == nil {
			if err := chatpb.FromJSON(written, kindOf(number), chatpb.AllowNaN()); err != nil {
				t.Fatalf("%v: %s", err, written)
			}
		}
		written, err := chatpb.ToJSON(m)
		if err != nil {
			var fault *chatpb.ConversionError
			if !errors.As(err, &fault) || fault.Offset != chatpb.NoOffset {
				t.Fatalf("%#v", err)
			}
			return
		}
		if !json.Valid(written) {
			t.Fatalf("not JSON: %s", written)
		}
		normal := kindOf(number)
		if err := chatpb.FromJSON(written, normal); err != nil {
			t.Fatal(err)
		}
		again, err := chatpb.ToJSON(normal)
		if err != nil {
			t.Fatal(err)
		}
		if found := jsonvalue.Difference(written, again); found != "" {
			t.Fatalf("%s\n%s\n%s", found, written, again)
		}
		checkNormal(t, normal, again)
	})
}
