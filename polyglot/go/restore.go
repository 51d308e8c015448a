package chatpb

import (
	"fmt"
	"iter"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// maxRestored is the most bytes that a compact chunk may leave out, so that a few bytes do not become
// many.
const maxRestored = 64 * 1024

// A Restorer restores the chunks of one stream, of which some come whole and some compact: without
// what the chunk before them already has. The rule is section 10 of docs/mapping.md. The zero value is
// ready for use.
type Restorer struct {
	before *chatpbv1.ChatCompletionChunk // the last chunk, which nobody else changes
}

// Chunks gives the chunks of the next response, each restored when it is asked for. All of them must
// be read before the next response. The caller may keep and change them.
//
// The error is a *ConversionError if a compact chunk has no chunk before it, or leaves out more than
// 64 KiB. No chunk comes after it.
func (r *Restorer) Chunks(
	response *chatpbv1.StreamChatCompletionResponse,
) iter.Seq2[*chatpbv1.ChatCompletionChunk, error] {
	return func(yield func(*chatpbv1.ChatCompletionChunk, error) bool) {
		for place := range countChunks(response) {
			chunk, err := r.chunk(response, place)
			if !yield(chunk, err) || err != nil {
				return
			}
		}
	}
}

func countChunks(response *chatpbv1.StreamChatCompletionResponse) int {
	return len(response.GetChunks()) + len(response.GetCompactChunks())
}

// chunk gives the next chunk of a response, which is in this place.
func (r *Restorer) chunk(
	response *chatpbv1.StreamChatCompletionResponse, place int,
) (*chatpbv1.ChatCompletionChunk, error) {
	whole := response.GetChunks()
	if place >= len(whole) {
		return r.restore(response.GetCompactChunks()[place-len(whole)])
	}
	r.before = copyOf(whole[place])
	return copyOf(whole[place]), nil
}

func (r *Restorer) restore(
	compact *chatpbv1.ChatCompletionChunk,
) (*chatpbv1.ChatCompletionChunk, error) {
	if r.before == nil {
		return nil, refuse("a compact chunk has no chunk before it")
	}
	chunk := copyOf(compact)
	carriedOfChunk().restore(chunk.ProtoReflect(), r.before.ProtoReflect())
	if proto.Size(chunk)-proto.Size(compact) > maxRestored {
		return nil, refuse(fmt.Sprintf("a compact chunk leaves out more than %d bytes", maxRestored))
	}
	r.before = chunk
	return copyOf(chunk), nil
}

// copyOf gives a copy of a chunk, by its binary form: proto.Clone leaves out -0.0 where there is no
// presence.
func copyOf(chunk *chatpbv1.ChatCompletionChunk) *chatpbv1.ChatCompletionChunk {
	chunkCopy := &chatpbv1.ChatCompletionChunk{}
	data, err := proto.Marshal(chunk)
	if err != nil || proto.Unmarshal(data, chunkCopy) != nil {
		return proto.CloneOf(chunk) // it has text that is not UTF-8
	}
	return chunkCopy
}

// carried is what the descriptor of a message type specifies about the fields that chunks leave out.
type carried struct {
	fields []protoreflect.FieldDescriptor
	inner  []carriedInner // the fields whose messages have such fields
}

type carriedInner struct {
	desc    protoreflect.FieldDescriptor
	carried *carried
}

var carriedOfChunk = sync.OnceValue(func() *carried {
	return carriedOf((&chatpbv1.ChatCompletionChunk{}).ProtoReflect().Descriptor())
})

// carriedOf reads a descriptor, none of whose messages is in itself.
func carriedOf(desc protoreflect.MessageDescriptor) *carried {
	c := &carried{}
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		if proto.GetExtension(fd.Options(), chatpbv1.E_Carried).(bool) {
			c.fields = append(c.fields, fd)
		} else if fd.Message() != nil && !fd.IsMap() {
			if inner := carriedOf(fd.Message()); len(inner.fields)+len(inner.inner) > 0 {
				c.inner = append(c.inner, carriedInner{fd, inner})
			}
		}
	}
	return c
}

// restore sets the fields of a message that were left out.
func (c *carried) restore(m, before protoreflect.Message) {
	for _, fd := range c.fields {
		if !m.Has(fd) {
			restoreField(fd, m, before)
		} else if isUnsetMark(fd, m) {
			m.Clear(fd)
		}
	}
	for _, each := range c.inner {
		if !each.desc.IsList() {
			if m.Has(each.desc) && before.Has(each.desc) {
				each.carried.restore(m.Mutable(each.desc).Message(), before.Get(each.desc).Message())
			}
			continue
		}
		parts, old := m.Get(each.desc).List(), before.Get(each.desc).List()
		for i := range min(parts.Len(), old.Len()) {
			each.carried.restore(parts.Get(i).Message(), old.Get(i).Message())
		}
	}
}

// isUnsetMark reports whether a field marks itself as unset: an enum that is zero, or an empty message.
func isUnsetMark(fd protoreflect.FieldDescriptor, m protoreflect.Message) bool {
	switch {
	case fd.IsList():
		return false
	case fd.Enum() != nil:
		return m.Get(fd).Enum() == 0
	case fd.Message() != nil:
		return proto.Size(m.Get(fd).Message().Interface()) == 0
	}
	return false
}

func restoreField(fd protoreflect.FieldDescriptor, m, before protoreflect.Message) {
	switch {
	case !before.Has(fd) || isZeroEnum(fd, before):
	case fd.IsList():
		list, old := m.Mutable(fd).List(), before.Get(fd).List()
		for i := range old.Len() {
			list.Append(copied(fd, old.Get(i)))
		}
	default:
		m.Set(fd, copied(fd, before.Get(fd)))
	}
}

func isZeroEnum(fd protoreflect.FieldDescriptor, m protoreflect.Message) bool {
	return !fd.IsList() && fd.Enum() != nil && m.Get(fd).Enum() == 0
}

// copied gives a value that shares nothing that can change.
func copied(fd protoreflect.FieldDescriptor, value protoreflect.Value) protoreflect.Value {
	if fd.Message() != nil {
		return protoreflect.ValueOfMessage(proto.Clone(value.Message().Interface()).ProtoReflect())
	}
	return value
}
