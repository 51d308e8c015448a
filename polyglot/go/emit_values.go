package chatpb

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// field writes the value of a field, if it is set.
func (e *emitter) field(f *field, spans, depth int) outcome {
	s := e.spans[spans+f.slot]
	if s.count == 0 {
		return isUnset
	}
	switch f.shape {
	case list:
		if depth >= maxDepth {
			return declined
		}
		return e.list(f, s, depth+1)
	case dictionary:
		if depth >= maxDepth {
			return declined
		}
		return e.dictionary(f, s, depth+1)
	}
	if s.count > 1 {
		return declined
	}
	return e.value(&f.value, s.start+len(f.tag), s.end, depth, f.isImplicit)
}

func (e *emitter) list(f *field, s span, depth int) outcome {
	e.out = append(e.out, '[')
	if f.desc.IsPacked() {
		start, end := e.contents(s)
		if s.count > 1 || start == end {
			return declined
		}
		for at := start; at < end; {
			size := f.value.size(e.data[at:end])
			if size < 0 || e.value(&f.value, at, at+size, depth, false) != isWritten {
				return declined
			}
			e.out = append(e.out, ',')
			at += size
		}
		e.out = closed(e.out, ']')
		return isWritten
	}
	for at := s.start; at < s.end; {
		number, _, size := protowire.ConsumeField(e.data[at:])
		if number == f.number {
			if e.value(&f.value, at+len(f.tag), at+size, depth, false) != isWritten {
				return declined
			}
			e.out = append(e.out, ',')
		}
		at += size
	}
	e.out = closed(e.out, ']')
	return isWritten
}

// size gives how many bytes a number in a packed list has; negative if there is none.
func (v *value) size(data []byte) int {
	if v.form == doubleForm {
		_, size := protowire.ConsumeFixed64(data)
		return size
	}
	_, size := protowire.ConsumeVarint(data)
	return size
}

func (e *emitter) dictionary(f *field, s span, depth int) outcome {
	var entries []entry
	for at := s.start; at < s.end; {
		number, _, size := protowire.ConsumeField(e.data[at:])
		if number == f.number {
			start, end := e.contents(span{at, at + size, 1})
			key, length := protowire.ConsumeBytes(e.data[min(start+1, end):end])
			if start == end || e.data[start] != 1<<3|byte(protowire.BytesType) || length < 0 || !utf8.Valid(key) {
				return declined
			}
			start += 1 + length
			number, _, size := protowire.ConsumeField(e.data[start:end])
			if number != 2 || start+size != end || !strings.HasPrefix(string(e.data[start:end]), string(f.entryTag)) {
				return declined
			}
			entries = append(entries, entry{string(key), start + len(f.entryTag), end})
		}
		at += size
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	e.out = append(e.out, '{')
	for i, each := range entries {
		if i > 0 && each.key == entries[i-1].key {
			return declined
		}
		e.out = append(appendQuoted(e.out, each.key), ':')
		if e.value(&f.value, each.start, each.end, depth, false) != isWritten {
			return declined
		}
		e.out = append(e.out, ',')
	}
	e.out = closed(e.out, '}')
	return isWritten
}

// value writes the value that is there, behind its tag. If it is implicit, a zero is unset.
func (e *emitter) value(v *value, start, end, depth int, implicit bool) outcome {
	data := e.data[start:end]
	switch v.form {
	case doubleForm:
		if len(data) != 8 {
			return declined
		}
		held := binary.LittleEndian.Uint64(data)
		if held == 0 && implicit {
			return isUnset
		}
		return e.number(held)
	case boolForm, int32Form, int64Form, enumForm:
		held, size := protowire.ConsumeVarint(data)
		if size != len(data) {
			return declined
		}
		return e.varint(v, held, implicit)
	}
	size, length := protowire.ConsumeVarint(data)
	if length < 0 || size != uint64(len(data)-length) {
		return declined
	}
	start += length
	data = data[length:]
	if implicit && len(data) == 0 {
		return isUnset
	}
	switch v.form {
	case stringForm:
		if !utf8.Valid(data) {
			return declined
		}
		e.out = appendQuotedUTF8(e.out, data)
	case rawForm:
		c := cursor{text: data, depth: depth, allowNaN: e.allowNaN}
		if c.skipSpace(); !utf8.Valid(data) || !c.compact(&e.out) {
			return declined
		}
		if c.skipSpace(); c.at != len(data) {
			return declined
		}
	case byteArrayForm:
		if depth >= maxDepth {
			return declined
		}
		e.out = appendByteArray(e.out, data)
	case objectForm:
		if !e.message(v.message, start, end, depth) {
			return declined
		}
	case unionForm:
		return e.union(v.message, start, end, depth)
	default:
		return declined
	}
	return isWritten
}

func (e *emitter) number(held uint64) outcome {
	if e.double(math.Float64frombits(held)) != nil {
		return declined
	}
	return isWritten
}

func (e *emitter) varint(v *value, held uint64, implicit bool) outcome {
	number := int64(held)
	if v.form != int64Form && v.form != boolForm {
		number = int64(int32(held))
	}
	if number == 0 && implicit {
		return isUnset
	}
	switch v.form {
	case boolForm:
		e.out = strconv.AppendBool(e.out, number != 0)
	case enumForm:
		if number == 0 {
			return isUnset
		}
		word, ok := v.words[protoreflect.EnumNumber(number)]
		if !ok {
			return declined
		}
		e.out = append(e.out, word...)
	default:
		e.out = strconv.AppendInt(e.out, number, 10)
	}
	return isWritten
}

func (e *emitter) union(mapped *mapping, start, end, depth int) outcome {
	spans, ok := e.scan(mapped, start, end)
	if !ok {
		return declined
	}
	fit := isUnset
	for _, f := range mapped.fields {
		if e.spans[spans+f.slot].count == 0 {
			continue
		}
		if fit != isUnset {
			return declined
		}
		if fit = e.field(f, spans, depth); fit != isWritten {
			return declined
		}
	}
	e.spans = e.spans[:spans]
	if fit == isUnset && mapped.hasList {
		e.out = append(e.out, "[]"...)
		return isWritten
	}
	return fit
}

// appendQuotedUTF8 writes a string that is UTF-8 as compact JSON has it.
func appendQuotedUTF8(out, text []byte) []byte {
	out = append(out, '"')
	for {
		plain := plainSize(text)
		out = append(out, text[:plain]...)
		if plain == len(text) {
			return append(out, '"')
		}
		out = appendEscape(out, text[plain])
		text = text[plain+1:]
	}
}

// plainSize is how many bytes of a string come before a quote, a backslash or a control character.
func plainSize(text []byte) int {
	at := 0
	for ; at+8 <= len(text); at += 8 {
		if found := unusual(binary.LittleEndian.Uint64(text[at:])); found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for ; at < len(text); at++ {
		if c := text[at]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return at
}
