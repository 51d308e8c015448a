package chatpb

import "google.golang.org/protobuf/proto"

// ReadDocument reads a text without the transcoder.
func ReadDocument(data []byte, m proto.Message, opts ...Option) error {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return err
	}
	return readDocument(data, mapped, m, optionsOf(opts))
}

// Transcode reads a text with the transcoder alone, which may decline it.
func Transcode(data []byte, m proto.Message, opts ...Option) ([]byte, bool) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, false
	}
	t := newTranscoder()
	defer t.free()
	ok := t.transcode(data, mapped, optionsOf(opts).allowNaN, true)
	return append([]byte(nil), t.out...), ok
}

// WriteMessage writes a message without the emitter.
func WriteMessage(m proto.Message, opts ...Option) ([]byte, error) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	return write(m, mapped, optionsOf(opts))
}

// Emit writes the binary form of a message with the emitter alone, which may decline it.
func Emit(data []byte, m proto.Message, opts ...Option) ([]byte, bool) {
	mapped, err := mappingOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return nil, false
	}
	return emit(mapped, optionsOf(opts), nil, data)
}
