package chatpb_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// checkTranscoded checks that the transcoder gives the bytes that reading the text as a document gives,
// or declines it.
func checkTranscoded(t *testing.T, text []byte, m proto.Message, opts ...chatpb.Option) bool {
	t.Helper()
	found, ok := chatpb.Transcode(text, m, opts...)
	read := m.ProtoReflect().New().Interface()
	err := chatpb.ReadDocument(text, read, opts...)
	if !ok {
		if data, again := chatpb.JSONToBinary(text, m, opts...); (again == nil) != (err == nil) {
			t.Fatalf("%q: %v, %v", text, err, again)
		} else if err == nil && !bytes.Equal(must[[]byte](t)(chatpb.Marshal(read)), data) {
			t.Fatalf("%q: other bytes: %x", text, data)
		}
		return false
	}
	if err != nil {
		t.Fatalf("%q was transcoded: %v", text, err)
	}
	if expected := must[[]byte](t)(chatpb.Marshal(read)); !bytes.Equal(expected, found) {
		t.Fatalf("%q: expected %x, got %x", text, expected, found)
	}
	direct := m.ProtoReflect().New().Interface()
	if err := chatpb.FromJSON(text, direct, opts...); err != nil {
		t.Fatal(err)
	}
	if again := must[[]byte](t)(chatpb.Marshal(direct)); !bytes.Equal(found, again) {
		t.Fatalf("%q: FromJSON gives other bytes: %x, not %x", text, again, found)
	}
	return true
}

func TestTranscoderAgrees(t *testing.T) {
	transcoded := 0
	for _, vector := range append(load(t, ""), load(t, "invalid")...) {
		text, err := vector.File("json")
		if err != nil {
			continue
		}
		if checkTranscoded(t, text, must[proto.Message](t)(vector.New())) {
			transcoded++
		}
		for _, kind := range kinds {
			checkTranscoded(t, text, kind, chatpb.AllowNaN())
		}
	}
	if transcoded < 80 {
		t.Errorf("only %d vectors were transcoded", transcoded)
	}
}

func TestTranscoderOfOddTexts(t *testing.T) {
	for _, text := range []string{
		`{"bytes":[97],"token":"a","logprob":-0,"top_logprobs":[]}`,
		`{"top_logprobs":[{"token":"a"}],"bytes":[97],"x":1,"token":"a"}`,
		`{"bytes":[],"token":""}`, `{"bytes":[]}`, `{"bytes":[98],"token":7}`, `{"bytes":"a","token":"a"}`,
		`{"bytes":[256],"token":"a"}`, `{"bytes":[01],"token":"a"}`, `{"bytes":[1.0],"token":"a"}`,
		`{"logprob":01}`, `{"logprob":-}`, `{"logprob":1.}`, `{"logprob":1e}`, `{"logprob":1e5}`, `{"logprob":.5}`,
		`{"logprob":123456789012345678}`, `{"logprob":9007199254740993}`, `{"logprob":1e400}`, `{"logprob":1e-400}`,
		`{"logprob":0.1234567890123456789012345678901234567890}`, `{"logprob":-12345678901234567890.5}`,
		`{"logprob":NaN}`, `{"logprob":-Infinity}`, `{"x":Infinity}`, `{"logprob":-5e-324}`, `{"logprob":-0.0}`,
		`{"a":{"b":1,"b":2}}`, `{"a":{"b":[{"b":1}],"c":[{"b":1}]},"b":1}`, `{"token":"a","token":"b"}`,
		`{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, `{"\u0074oken":"a"}`, `{"a":{"\u0061":1,"b":2}}`, ``, ` `, `[]`, `{`, `{}x`,
		"\xef\xbb\xbf{ }", "\xef\xbb\xbf\xef\xbb\xbf{}", "{\"token\":\"a\xff\"}", `{"token":"\ud800","bytes":[]}`,
		"{\"token\":\"a\x01\"}", `{"token":"` + strings.Repeat("ab", 99) + "\x1f\"}", `{"token":"` + strings.Repeat("é", 99) + `\n"}`,
		`{"token":"a","logprob":1,"bytes":null,"top_logprobs":null}`, `{ "token" : "a" , "top_logprobs" : [ ] }`,
	} {
		for _, kind := range kinds {
			checkTranscoded(t, []byte(text), kind)
			checkTranscoded(t, []byte(text), kind, chatpb.AllowNaN())
		}
	}
}

func TestTranscoderReadsWhatServersSend(t *testing.T) {
	for name, text := range map[string][]byte{
		"compact": completion(),
		"spaced":  aToken.ReplaceAll(completion(), []byte(" \r\n$1$2\t ")),
	} {
		if !checkTranscoded(t, text, &chatpbv1.ChatCompletion{}) {
			t.Errorf("%s: it was declined", name)
		}
	}
}

// The type may be given by a nil pointer.
func TestTypesByNil(t *testing.T) {
	text := completion()
	data := must[[]byte](t)(chatpb.JSONToBinary(text, (*chatpbv1.ChatCompletion)(nil)))
	written := must[[]byte](t)(chatpb.BinaryToJSON(data, (*chatpbv1.ChatCompletion)(nil)))
	if !bytes.Equal(text, written) {
		t.Errorf("%s", written)
	}
}

// The transcoder and the document give the same for every text.
func FuzzTranscoder(f *testing.F) {
	addVectors(f, "", "json")
	addVectors(f, "invalid", "json")
	f.Fuzz(func(t *testing.T, text []byte, number uint8) {
		checkTranscoded(t, text, kindOf(number))
		checkTranscoded(t, text, kindOf(number), chatpb.AllowNaN())
	})
}
