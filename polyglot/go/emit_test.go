package chatpb_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// checkEmitted checks that the emitter writes what the message is written as, or declines it.
func checkEmitted(t *testing.T, data []byte, m proto.Message, opts ...chatpb.Option) bool {
	t.Helper()
	found, ok := chatpb.Emit(data, m, opts...)
	if !ok {
		return false
	}
	read := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(data, read); err != nil {
		t.Fatalf("%x was emitted: %v", data, err)
	}
	expected, err := chatpb.WriteMessage(read, opts...)
	if err != nil {
		t.Fatalf("%x was emitted: %v", data, err)
	}
	if !bytes.Equal(expected, found) {
		t.Fatalf("%x: expected %s, got %s", data, expected, found)
	}
	return true
}

func TestEmitterAgrees(t *testing.T) {
	emitted := 0
	for _, below := range []string{"", "invalid", "binary"} {
		for _, vector := range load(t, below) {
			data, err := vector.File("binpb")
			if err != nil {
				continue
			}
			if m := must[proto.Message](t)(vector.New()); checkEmitted(t, data, m) {
				emitted++
			}
			for _, kind := range kinds {
				checkEmitted(t, data, kind, chatpb.AllowNaN(), chatpb.IgnoreUnknownFields())
			}
		}
	}
	if emitted < 80 {
		t.Errorf("only %d vectors were emitted", emitted)
	}
}

func TestEmitterOfOddBytes(t *testing.T) {
	field := func(number protowire.Number, data string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), data)
	}
	for _, data := range [][]byte{
		{}, {0x0a}, {0x0a, 0x05, 'a'}, {0x8a, 0x00, 0x01, 'a'}, {0x0a, 0x81, 0x00, 'a'}, {0x0b, 0x0c}, {0x0a, 0x01, 0xff},
		append(field(1, "a"), field(1, "b")...), field(15, ""), field(15, "\x22\x00"), field(15, "\x22\x02{}"),
		field(15, "\x22\x07{\"a\":1}"), field(15, "\x22\x09{\"a\":1}{}"), field(15, "\x0a\x01\x63"), field(15, "\x1a\x01\x01"),
		append(field(15, "\x0a\x01\x01"), field(15, "\x0a\x01\x02")...), field(15, "\x08\x01"), field(15, "\x12\x01\x02\x0a\x01\x01"),
		{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, {0x18, 0x00}, {0x18, 0x80, 0x00},
	} {
		for _, kind := range kinds {
			checkEmitted(t, data, kind)
			checkEmitted(t, data, kind, chatpb.AllowNaN(), chatpb.IgnoreUnknownFields())
		}
	}
}

func TestEmitterWritesWhatServersSend(t *testing.T) {
	data := must[[]byte](t)(chatpb.JSONToBinary(completion(), (*chatpbv1.ChatCompletion)(nil)))
	if !checkEmitted(t, data, &chatpbv1.ChatCompletion{}) {
		t.Error("it was declined")
	}
}

// The emitter and the writer write the same for all bytes.
func FuzzEmitter(f *testing.F) {
	addVectors(f, "", "binpb")
	addVectors(f, "invalid", "binpb")
	addVectors(f, "binary", "binpb")
	f.Fuzz(func(t *testing.T, data []byte, number uint8) {
		checkEmitted(t, data, kindOf(number))
		checkEmitted(t, data, kindOf(number), chatpb.AllowNaN(), chatpb.IgnoreUnknownFields())
	})
}
