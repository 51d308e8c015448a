// Package chatpb is for OpenAI's chat completions as the messages of package chatpbv1: their JSON, their
// streams, and calls of a relay.
//
// FromJSON and ToJSON convert without loss: what FromJSON reads, ToJSON writes again as the same JSON
// value, with members and words that the schema does not know, with null apart from absent, and with
// every number. JSONToBinary and BinaryToJSON do so without making the message.
//
// Fold assembles the chunks of a stream into the completion that they make, and Unfold splits a
// completion into chunks. A ChunkReader reads the event stream of a server, and a Client calls a relay.
//
// All of this is driven by the descriptors of the messages and the options in them; there is no other
// table. The rules are those of docs/mapping.md in https://github.com/chatpb/chatpb. They are not those
// of package protojson. Functions may be called concurrently.
package chatpb

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// An Option changes how a value is converted.
type Option func(*options)

type options struct {
	allowNaN      bool
	ignoreUnknown bool
	maxEvent      int
}

// AllowNaN lets NaN, Infinity and -Infinity pass, which some servers send though they are no JSON.
func AllowNaN() Option { return func(o *options) { o.allowNaN = true } }

// IgnoreUnknownFields lets ToJSON leave out what the schema of this package does not know: fields,
// values of enums, and fields that a residue names. FromJSON has no need of it.
func IgnoreUnknownFields() Option { return func(o *options) { o.ignoreUnknown = true } }

func optionsOf(opts []Option) options {
	var o options
	for _, option := range opts {
		option(&o)
	}
	return o
}

// FromJSON reads a JSON object into a message, whose former content is lost. It takes every JSON
// object for every type of message that mirrors one.
//
// The error is a *ConversionError if the text is not JSON, not UTF-8, not an object, or nested deeper
// than 200 levels; the message is then as it was.
func FromJSON(data []byte, m proto.Message, opts ...Option) error {
	return fromJSON(data, m, optionsOf(opts))
}

func fromJSON(data []byte, m proto.Message, o options) error {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return err
	}
	t := newTranscoder()
	defer t.free()
	if t.transcode(data, mapped, o.allowNaN, false) {
		return proto.Unmarshal(t.out, m)
	}
	return readDocument(data, mapped, m, o)
}

// JSONToBinary reads a JSON object into the binary form of a message, as FromJSON does. The message
// gives the type; what is in it does not matter, and it is not changed:
//
//	data, err := chatpb.JSONToBinary(text, (*chatpbv1.ChatCompletion)(nil))
//
// The bytes are canonical: those that Marshal gives. The error is that of FromJSON.
func JSONToBinary(data []byte, m proto.Message, opts ...Option) ([]byte, error) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	o := optionsOf(opts)
	t := newTranscoder()
	defer t.free()
	if t.transcode(data, mapped, o.allowNaN, true) {
		return bytes.Clone(t.out), nil
	}
	read := m.ProtoReflect().New().Interface()
	if err := readDocument(data, mapped, read, o); err != nil {
		return nil, err
	}
	return Marshal(read)
}

// readDocument reads any text.
func readDocument(data []byte, mapped *mapping, m proto.Message, o options) error {
	doc := newDocument()
	defer doc.free()
	if err := doc.parse(data, 0, o.allowNaN); err != nil {
		return err
	}
	if root := doc.nodes[0]; root.kind != object {
		return &ConversionError{"$", "expected an object, got " + root.kind.String(), root.start}
	}
	proto.Reset(m)
	mapped.read(doc, 0, m.ProtoReflect())
	return nil
}

// ToJSON writes a message as compact JSON, its members in the order of api.openai.com.
//
// The error is a *ConversionError if the message stands for no JSON object: it has a field or an
// enum value that the schema does not know, a residue that is not valid, text that is not UTF-8, two
// values where there is one, or a number that is not finite.
func ToJSON(m proto.Message, opts ...Option) ([]byte, error) { return toJSON(m, optionsOf(opts)) }

func toJSON(m proto.Message, o options) ([]byte, error) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	if text, ok := emit(mapped, o, m, nil); ok {
		return text, nil
	}
	return write(m, mapped, o)
}

// write writes any message.
func write(m proto.Message, mapped *mapping, o options) ([]byte, error) {
	w := writer{options: o}
	if err := w.message(mapped, m.ProtoReflect(), 0); err != nil {
		return nil, err
	}
	return w.out, nil
}

// BinaryToJSON writes the binary form of a message as JSON, as ToJSON does. The message gives the type;
// what is in it does not matter, and it is not changed.
//
// The error is that of Unmarshal or of ToJSON.
func BinaryToJSON(data []byte, m proto.Message, opts ...Option) ([]byte, error) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	o := optionsOf(opts)
	if text, ok := emit(mapped, o, nil, data); ok {
		return text, nil
	}
	read := m.ProtoReflect().New().Interface()
	if err := Unmarshal(data, read); err != nil {
		return nil, err
	}
	return write(read, mapped, o)
}

// Marshal gives the canonical binary form of a message: the same bytes for the same message in all of
// chatpb's implementations. It is proto.Marshal made deterministic.
func Marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// Unmarshal reads the binary form of a message. It is proto.Unmarshal with a *ConversionError.
func Unmarshal(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		name := m.ProtoReflect().Descriptor().FullName()
		return refuse(fmt.Sprintf("not the binary form of a %s", name))
	}
	return nil
}
