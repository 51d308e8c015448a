package chatpb_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

func read(t testing.TB, text string, m proto.Message, opts ...chatpb.Option) {
	t.Helper()
	if err := chatpb.FromJSON([]byte(text), m, opts...); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, m proto.Message, opts ...chatpb.Option) string {
	t.Helper()
	return string(must[[]byte](t)(chatpb.ToJSON(m, opts...)))
}

func fault(t testing.TB, err error) *chatpb.ConversionError {
	t.Helper()
	var found *chatpb.ConversionError
	if !errors.As(err, &found) {
		t.Fatalf("expected a ConversionError, got %v", err)
	}
	return found
}

func Example() {
	completion := &chatpbv1.ChatCompletion{}
	text := `{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-5",
		"choices":[],"system_fingerprint":null,"energy_joules":12.50}`
	if err := chatpb.FromJSON([]byte(text), completion); err != nil {
		fmt.Println(err)
	}
	fmt.Println(completion.GetModel(), completion.GetResidue().GetExtraJson())
	completion.Model = "gpt-5-mini"
	written, err := chatpb.ToJSON(completion)
	fmt.Println(string(written), err)
	// Output:
	// gpt-5 {"energy_joules":12.50}
	// {"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-5-mini","choices":[],"system_fingerprint":null,"energy_joules":12.50} <nil>
}

func TestDepth(t *testing.T) {
	for _, each := range []struct {
		name, member, opening, closing, step string
		offset                               int
	}{
		{"arrays", `{"x":`, "[", "]", "[0]", 5 + 199},
		{"objects", `{"x":`, `{"a":`, "}", ".a", 5 + 199*5},
		{"arrays in a known member", `{"choices":`, "[", "]", "[0]", 11 + 199},
	} {
		t.Run(each.name, func(t *testing.T) {
			nested := func(levels int) string {
				inner := levels - 1
				return each.member + strings.Repeat(each.opening, inner) + "0" +
					strings.Repeat(each.closing, inner) + "}"
			}
			m := &chatpbv1.ChatCompletion{}
			read(t, nested(200), m)
			if m.GetResidue().GetExtraJson() != nested(200) {
				t.Error("not kept as it is")
			}
			if !strings.Contains(write(t, m), each.opening+"0") {
				t.Error("not written as it is")
			}
			found := fault(t, chatpb.FromJSON([]byte(nested(201)), m))
			path := "$." + each.member[2:len(each.member)-2] + strings.Repeat(each.step, 199)
			if path != found.Path || each.offset != found.Offset || found.Reason != "nested deeper than 200 levels" {
				t.Error(found)
			}
			m.Residue = &chatpbv1.Residue{ExtraJson: nested(201)}
			_, err := chatpb.ToJSON(m)
			if found := fault(t, err); found.Reason != "nested deeper than 200 levels" {
				t.Error(found)
			}
		})
	}
}

func TestAllowNaN(t *testing.T) {
	text := `{"token":"a","logprob":-Infinity,"bytes":[NaN],"top_logprobs":[{"token":"b","logprob":NaN}]}`
	m := &chatpbv1.ChatCompletionTokenLogprob{}
	if found := fault(t, chatpb.FromJSON([]byte(text), m)); found.Path != "$.logprob" {
		t.Error(found)
	}
	read(t, text, m, chatpb.AllowNaN())
	if !math.IsInf(m.GetLogprob(), -1) || !math.IsNaN(m.GetTopLogprobs()[0].GetLogprob()) {
		t.Error(m)
	}
	if bits := math.Float64bits(m.GetTopLogprobs()[0].GetLogprob()); bits != 0x7ff8000000000000 {
		t.Errorf("NaN is %x", bits)
	}
	expected := `{"token":"a","logprob":-Infinity,"top_logprobs":[{"token":"b","logprob":NaN,"bytes":[98]}],"bytes":[NaN]}`
	m.TopLogprobs[0].Residue = nil
	if written := write(t, m, chatpb.AllowNaN()); expected != written {
		t.Error(written)
	}
	_, err := chatpb.ToJSON(m)
	if found := fault(t, err); !strings.HasPrefix(found.Reason, "extra_json is not a JSON object") {
		t.Error(found)
	}
}

func TestIgnoreUnknownFields(t *testing.T) {
	m := &chatpbv1.ChatCompletionDeleted{
		Id:      "a",
		Residue: &chatpbv1.Residue{NullFields: []uint32{99}},
	}
	m.ProtoReflect().SetUnknown([]byte{0xc0, 0x3e, 1})
	_, err := chatpb.ToJSON(m)
	if found := fault(t, err); !strings.Contains(found.Reason, "field 1000 of chatpb.v1.ChatCompletionDeleted") {
		t.Error(found)
	}
	expected := `{"object":"chat.completion.deleted","id":"a","deleted":false}`
	if written := write(t, m, chatpb.IgnoreUnknownFields()); expected != written {
		t.Error(written)
	}
}

func TestDoubles(t *testing.T) {
	for spelled, written := range map[string]string{
		"-0":                      "-0.0",
		"1":                       "1.0",
		"1e15":                    "1000000000000000.0",
		"1e16":                    "1e+16",
		"0.000001":                "1e-6",
		"5e-324":                  "5e-324",
		"9007199254740993":        "9007199254740993", // no double is it: extra_json
		"9007199254740993.0":      "9007199254740992.0",
		"1e400":                   "1e400",
		"100000000000000000000":   "1e+20",
		"-1.7976931348623157E308": "-1.7976931348623157e+308",
	} {
		m := &chatpbv1.ChatCompletionRequest{}
		read(t, `{"top_p":`+spelled+`}`, m)
		if found := write(t, m); found != `{"top_p":`+written+`}` {
			t.Errorf("%s is written %s", spelled, found)
		}
	}
}

func TestFormerContentIsLost(t *testing.T) {
	m := &chatpbv1.ErrorResponse{Error: &chatpbv1.Error{Message: proto.String("old")}}
	if err := chatpb.FromJSON([]byte(`{"error":`), m); err == nil || m.GetError().GetMessage() != "old" {
		t.Errorf("%v: a refused text has changed the message: %v", err, m)
	}
	read(t, `{}`, m)
	if !proto.Equal(&chatpbv1.ErrorResponse{}, m) {
		t.Error(m)
	}
}

func TestTextOfMessagesIsChecked(t *testing.T) {
	m := &chatpbv1.ErrorResponse{Error: &chatpbv1.Error{Message: proto.String("\xff")}}
	_, err := chatpb.ToJSON(m)
	if found := fault(t, err); found.Path != "$.error.message" || found.Reason != "not UTF-8" {
		t.Error(found)
	}
}

func TestTypesWithoutJSON(t *testing.T) {
	for _, m := range []proto.Message{&chatpbv1.CompletionRecord{}, &chatpbv1.Stop{}, &chatpbv1.Residue{}} {
		if err := chatpb.FromJSON([]byte("{}"), m); err == nil || !strings.Contains(err.Error(), "mirrors no JSON object") {
			t.Error(err)
		}
		if _, err := chatpb.ToJSON(m); err == nil {
			t.Errorf("%T was written", m)
		}
	}
}

func TestDynamicMessages(t *testing.T) {
	text := `{"token":"é","logprob":-0.5,"bytes":[195],"top_logprobs":[],"x":1.50}`
	m := dynamicpb.NewMessage((&chatpbv1.ChatCompletionTokenLogprob{}).ProtoReflect().Descriptor())
	read(t, text, m)
	if written := write(t, m); written != text {
		t.Error(written)
	}
}

func TestConcurrentUse(t *testing.T) {
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 200 {
				text := fmt.Sprintf(`{"messages":[{"role":"user","content":"%d"}],"z":[%d]}`, i, i)
				m := &chatpbv1.ChatCompletionRequest{}
				if err := chatpb.FromJSON([]byte(text), m); err != nil {
					t.Error(err)
				}
				if written, err := chatpb.ToJSON(m); err != nil || string(written) != text {
					t.Errorf("%s: %v", written, err)
				}
			}
		}()
	}
	group.Wait()
}

// Texts that cost more than they should if anything in the conversion is not linear.
func TestLinearTime(t *testing.T) {
	const size = 1 << 20
	var members strings.Builder
	for i := range size / 16 {
		fmt.Fprintf(&members, `"member %d":0,`, i)
	}
	for name, text := range map[string]string{
		"digits":     `{"top_p":` + strings.Repeat("9", size) + `}`,
		"fraction":   `{"top_p":0.` + strings.Repeat("3", size) + `}`,
		"integer":    `{"n":` + strings.Repeat("1", size) + `}`,
		"escapes":    `{"user":"` + strings.Repeat(`\ud800`, size/6) + `"}`,
		"members":    `{` + members.String() + `"n":1}`,
		"duplicates": `{` + strings.Repeat(`"n":1,`, size/6) + `"n":1}`,
		"misfits":    `{"messages":[` + strings.Repeat(`{"content":[{"type":"text"},1]},`, size/32) + `1]}`,
		"white":      `{"a":[` + strings.Repeat(" ", size) + `]}`,
		"brackets":   `{"a":[` + strings.Repeat(`[],`, size/3) + `[]]}`,
	} {
		start := time.Now()
		m := &chatpbv1.ChatCompletionRequest{}
		read(t, text, m)
		write(t, m)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %s", name, took)
		}
	}
}

// completion is the JSON of a completion with many log probabilities.
func completion() []byte {
	var content []string
	for i := range 200 {
		token := fmt.Sprintf(`"token":" t%d","logprob":-0.%d1234567,"bytes":[32,116]`, i, i)
		alternative := `{` + token + `}`
		content = append(content, fmt.Sprintf(`{%s,"top_logprobs":[%s]}`, token,
			strings.Join([]string{alternative, alternative, alternative, alternative, alternative}, ",")))
	}
	return []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-5",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,"annotations":[]},` +
		`"logprobs":{"content":[` + strings.Join(content, ",") + `],"refusal":null},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":1,"completion_tokens":200,"total_tokens":201},"system_fingerprint":null}`)
}

func BenchmarkFromJSON(b *testing.B) {
	text := completion()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for range b.N {
		read(b, string(text), &chatpbv1.ChatCompletion{})
	}
}

func BenchmarkToJSON(b *testing.B) {
	text := completion()
	m := &chatpbv1.ChatCompletion{}
	read(b, string(text), m)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for range b.N {
		write(b, m)
	}
}

// BenchmarkEncodingJSON is what parsing the same text takes.
func BenchmarkEncodingJSON(b *testing.B) {
	text := completion()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for range b.N {
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWhatIsSetAfterReadingIsWritten(t *testing.T) {
	choice := &chatpbv1.Choice{}
	read(t, `{"index":"1","message":"text","finish_reason":"eos","x":1}`, choice)
	choice.FinishReason = chatpbv1.FinishReason_FINISH_REASON_STOP.Enum()
	choice.Message = &chatpbv1.ChatCompletionMessage{}
	choice.Message.Content = proto.String("hi")
	expected := `{"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},` +
		`"finish_reason":"stop","index":"1","x":1}`
	if written := write(t, choice); expected != written {
		t.Error(written)
	}
	parts := &chatpbv1.ChatCompletionMessage{}
	read(t, `{"role":"assistant","content":7}`, parts)
	parts.ContentParts = proto.String(`[ {"type": "text"} ]`)
	if written := write(t, parts); written != `{"role":"assistant","content":[{"type":"text"}]}` {
		t.Error(written)
	}
	parts.Content = proto.String("hi")
	if written := write(t, parts); written != `{"role":"assistant","content":"hi"}` {
		t.Error(written)
	}
	choice.FinishReason = nil
	if written := write(t, choice); !strings.Contains(written, `"finish_reason":"eos"`) {
		t.Error(written)
	}
}
