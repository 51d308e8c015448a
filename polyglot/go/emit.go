package chatpb

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// An emitter writes the binary form of a message as JSON, without making the message. It declines
// whatever is rare or wrong: then the message is written by a writer, which gives the errors, too. Both
// write the same.
type emitter struct {
	writer
	data    []byte // the binary form
	buffer  []byte // the same, if it was made for this
	spans   []span // of the fields of the messages that are being written, by their slots
	notes   []note // what residues say of these fields
	members []extraMember
	extra   []byte // the values of members
}

// A span is where a field is in the binary form. If it is repeated, other fields may be between.
type span struct{ start, end, count int }

// An extraMember is a member of extra_json: the slot of its field, or -1, and where it is.
type extraMember struct{ slot, start, end int }

var emitters = sync.Pool{New: func() any { return new(emitter) }}

// emit writes a message as JSON, and reports whether it has done so. It takes the message, or else its
// binary form.
func emit(mapped *mapping, o options, m proto.Message, data []byte) ([]byte, bool) {
	e := emitters.Get().(*emitter)
	defer e.free()
	if m != nil {
		var err error
		if e.buffer, err = (proto.MarshalOptions{}).MarshalAppend(e.buffer[:0], m); err != nil {
			return nil, false
		}
		data = e.buffer
	}
	e.data, e.options, e.out = data, o, e.out[:0]
	e.spans, e.notes, e.members, e.extra = e.spans[:0], e.notes[:0], e.members[:0], e.extra[:0]
	if !e.message(mapped, 0, len(e.data), 0) {
		return nil, false
	}
	return bytes.Clone(e.out), true
}

func (e *emitter) free() {
	e.data = nil
	if cap(e.buffer)+cap(e.out)+cap(e.extra)+64*cap(e.spans) <= maxPooled {
		emitters.Put(e)
	}
}

// scan finds the fields of a message, and gives where their spans begin.
func (e *emitter) scan(mapped *mapping, start, end int) (int, bool) {
	base := len(e.spans)
	for range mapped.slots {
		e.spans = append(e.spans, span{})
	}
	for at := start; at < end; {
		number, wire, size := protowire.ConsumeTag(e.data[at:end])
		if size < 0 || size != protowire.SizeTag(number) || int(number) >= len(mapped.slotOf) || mapped.slotOf[number] < 0 {
			return 0, false
		}
		slot := mapped.slotOf[number]
		value := protowire.ConsumeFieldValue(number, wire, e.data[at+size:end])
		if value < 0 || wire != mapped.wires[slot] {
			return 0, false
		}
		found := &e.spans[base+slot]
		if found.count == 0 {
			found.start = at
		}
		found.count++
		at += size + value
		found.end = at
	}
	return base, true
}

// message writes an object.
func (e *emitter) message(mapped *mapping, start, end, depth int) bool {
	spans, ok := e.scan(mapped, start, end)
	if !ok || depth >= maxDepth {
		return false
	}
	notes, members, extra := -1, len(e.members), len(e.extra)
	if s := e.spans[spans+mapped.residue.slot]; s.count > 0 {
		notes = len(e.notes)
		for range mapped.fields {
			e.notes = append(e.notes, 0)
		}
		if s.count > 1 || !e.residue(mapped, s, notes, depth) {
			return false
		}
	}
	e.out = append(e.out, '{')
	for _, f := range mapped.fields {
		before := len(e.out)
		e.out = append(e.out, f.quoted...)
		fit := e.field(f, spans, depth+1)
		if f.alternative != nil && e.spans[spans+f.alternative.slot].count > 0 {
			if fit != isUnset {
				return false
			}
			fit = e.field(f.alternative, spans, depth+1)
		}
		said := note(0)
		if notes >= 0 {
			said = e.notes[notes+f.place]
		}
		switch {
		case fit == declined:
			return false
		case fit == isWritten:
			if said == isExtra {
				e.notes[notes+f.place] = isReplaced
			}
			e.out = append(e.out, ',')
		case said != isExtra && e.unset(f, spans, said):
			e.out = append(e.out, ',')
		default:
			e.out = e.out[:before]
		}
	}
	for _, m := range e.members[members:] {
		if m.slot < 0 || e.notes[notes+m.slot] != isReplaced {
			e.out = append(append(e.out, e.extra[m.start:m.end]...), ',')
		}
	}
	e.out = closed(e.out, '}')
	e.spans, e.members, e.extra = e.spans[:spans], e.members[:members], e.extra[:extra]
	if notes >= 0 {
		e.notes = e.notes[:notes]
	}
	return true
}

// contents gives where the contents of a field with a length are.
func (e *emitter) contents(s span) (start, end int) {
	_, _, tag := protowire.ConsumeTag(e.data[s.start:])
	_, size := protowire.ConsumeVarint(e.data[s.start+tag:])
	return s.start + tag + size, s.end
}

// residue reads the residue of a message.
func (e *emitter) residue(mapped *mapping, s span, notes, depth int) bool {
	start, end := e.contents(s)
	last := protowire.Number(0)
	for at := start; at < end; {
		number, wire, size := protowire.ConsumeTag(e.data[at:end])
		if size < 0 || wire != protowire.BytesType || number <= last {
			return false
		}
		last = number
		data, length := protowire.ConsumeBytes(e.data[at+size : end])
		if length < 0 {
			return false
		}
		at += size + length
		r, said := mapped.residue, note(0)
		switch number {
		case r.absent.Number():
			said = isAbsent
		case r.nulls.Number():
			said = isNull
		case r.empties.Number():
			said = isEmpty
		case r.extra.Number():
			if !e.readExtra(mapped, data, notes, depth) {
				return false
			}
			continue
		default:
			return false
		}
		for len(data) > 0 {
			field, size := protowire.ConsumeVarint(data)
			if size < 0 || field >= uint64(len(mapped.slotOf)) {
				return false
			}
			data = data[size:]
			slot := mapped.slotOf[field]
			if slot < 0 || slot >= len(mapped.fields) || said == isEmpty && mapped.fields[slot].shape == single {
				return false
			}
			e.notes[notes+slot] = max(e.notes[notes+slot], said)
		}
	}
	return true
}

// readExtra reads the members of extra_json.
func (e *emitter) readExtra(mapped *mapping, data []byte, notes, depth int) bool {
	c := cursor{text: data, depth: depth, allowNaN: e.allowNaN}
	if len(data) == 0 || data[0] != '{' || !utf8.Valid(data) || !c.enter() {
		return len(data) == 0
	}
	for more := c.any('}'); more; {
		c.skipSpace()
		name, escaped, ok := c.string()
		if c.skipSpace(); !ok || escaped || c.peek() != ':' || !c.isNew(name, 0) {
			return false
		}
		c.at++
		c.skipSpace()
		m := extraMember{slot: -1, start: len(e.extra)}
		if f := mapped.byName[string(name[1:len(name)-1])]; f != nil {
			m.slot = f.place
			e.notes[notes+f.place] = isExtra
		}
		e.extra = append(append(e.extra, name...), ':')
		names := len(c.names)
		if !c.compact(&e.extra) {
			return false
		}
		c.names = c.names[:names]
		m.end = len(e.extra)
		e.members = append(e.members, m)
		if more, ok = c.more('}'); !ok {
			return false
		}
	}
	c.skipSpace()
	return c.at == len(data)
}

// unset writes what the member of an unset field is; it reports whether there is one.
func (e *emitter) unset(f *field, spans int, said note) bool {
	switch {
	case said == isEmpty && f.shape == dictionary:
		e.out = append(e.out, "{}"...)
	case said == isEmpty:
		e.out = append(e.out, "[]"...)
	case said == isNull:
		e.out = append(e.out, "null"...)
	case said == isAbsent || !f.stands():
		return false
	case f.utf8Of != nil:
		start, end := 0, 0
		if s := e.spans[spans+f.utf8Place]; s.count > 0 {
			start, end = e.contents(s)
		}
		e.out = appendByteArray(e.out, e.data[start:end])
	default:
		e.out = append(e.out, f.unset.text...)
	}
	return true
}
