package chatpb

import (
	"math/bits"
	"slices"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A transcoder turns a JSON text into the binary form of a message in one pass. It declines whatever
// is rare or wrong: then the text is read as a document, which gives the errors, too. Both give the
// same messages.
type transcoder struct {
	cursor
	// Fields are put in the order of their numbers.
	isSorting bool
	out       []byte
	segments  []segment // the fields of the messages that are being read
	extra     []byte    // the members outside the schema of these messages, each behind a comma
	scratch   []byte
	numbers   []int
	parts     []part
}

// A segment is a field of a message: its number, and where it begins in the output.
type segment struct {
	number protoreflect.FieldNumber
	start  int
}

// A part is a segment with its end.
type part struct {
	segment
	end int
}

// An outcome is what becomes of a value.
type outcome uint8

const (
	declined outcome = iota
	isWritten
	isUnset     // the value is what an unset field stands for
	isEmptyList // the value is [] or {}
	isMisfit    // the field does not take the value
)

// A fieldSet is a set of the fields of a mapping, by their places.
type fieldSet [maxFields / 64]uint64

// maxFields is how many fields a type of message may have, unless it is read as a document.
const maxFields = 128

func (s *fieldSet) has(place int) bool { return s[place/64]>>(place%64)&1 != 0 }
func (s *fieldSet) add(place int)      { s[place/64] |= 1 << (place % 64) }
func (s *fieldSet) without(other fieldSet) fieldSet {
	left := *s
	for i := range left {
		left[i] &^= other[i]
	}
	return left
}

// maxPooled is how much memory is kept for the next texts.
const maxPooled = 4 << 20

var transcoders = sync.Pool{New: func() any { return new(transcoder) }}

func newTranscoder() *transcoder { return transcoders.Get().(*transcoder) }

func (t *transcoder) free() {
	t.text = nil
	clear(t.names[:cap(t.names)])
	if cap(t.out)+cap(t.extra)+cap(t.scratch) <= maxPooled {
		transcoders.Put(t)
	}
}

// transcode puts the binary form of a message into the output, and reports whether it has done so.
func (t *transcoder) transcode(data []byte, mapped *mapping, allowNaN, isSorting bool) bool {
	if !utf8.Valid(data) {
		return false
	}
	t.cursor = cursor{text: data, allowNaN: allowNaN, names: t.names[:0]}
	t.out, t.segments, t.extra, t.isSorting = t.out[:0], t.segments[:0], t.extra[:0], isSorting
	if len(data) >= len(byteOrderMark) && string(data[:len(byteOrderMark)]) == string(byteOrderMark) {
		t.at = len(byteOrderMark)
	}
	t.skipSpace()
	if !t.object(mapped) {
		return false
	}
	t.skipSpace()
	return t.at == len(data)
}

// object reads the object here and appends the fields of its message.
func (t *transcoder) object(mapped *mapping) bool {
	if len(mapped.fields) > maxFields || t.peek() != '{' || !t.enter() {
		return false
	}
	o := objectState{mapped: mapped, start: len(t.out), first: len(t.segments), extra: len(t.extra)}
	names := len(t.names)
	next, areLate := 0, false
	for more := t.any('}'); more; {
		t.skipSpace()
		f, ok := t.member(mapped, next, names)
		if !ok {
			return false
		}
		t.skipSpace()
		if f != nil {
			if o.seen.has(f.place) {
				return false
			}
			o.seen.add(f.place)
			next = f.place + 1
			areLate = areLate || f.utf8Of != nil && !o.seen.has(f.utf8Place)
			ok = t.field(f, &o)
		} else {
			ok = t.compact(&t.extra)
		}
		if !ok {
			return false
		}
		if more, ok = t.more('}'); !ok {
			return false
		}
	}
	t.names = t.names[:names]
	if areLate {
		t.dropDerived(&o)
	}
	t.residue(&o)
	if t.isSorting {
		t.sort(&o)
	}
	t.segments = t.segments[:o.first]
	return true
}

// objectState is what is known of an object that is being read.
type objectState struct {
	mapped               *mapping
	seen, nulls, empties fieldSet
	start, first, extra  int // where it begins in the output, the segments and the members
}

// member reads a name and its colon, and gives the field; nil for a member outside the schema, of which
// it writes the name.
func (t *transcoder) member(mapped *mapping, next, names int) (*field, bool) {
	if next < len(mapped.fields) {
		f := mapped.fields[next]
		if end := t.at + len(f.quoted); end <= len(t.text) && string(t.text[t.at:end]) == string(f.quoted) {
			t.at = end
			return f, true
		}
	}
	name, escaped, ok := t.string()
	if !ok || escaped {
		return nil, false
	}
	if t.skipSpace(); t.peek() != ':' {
		return nil, false
	}
	t.at++
	f := mapped.byName[string(name[1:len(name)-1])]
	if f == nil {
		if !t.isNew(name, names) {
			return nil, false
		}
		t.extra = append(append(append(t.extra, ','), name...), ':')
	}
	return f, true
}

// field reads the value of a member that the schema knows.
func (t *transcoder) field(f *field, o *objectState) bool {
	if t.peek() == 'n' {
		if !t.word("null") {
			return false
		}
		if f.unset == nil || f.unset.isZero || f.unset.kind != null {
			o.nulls.add(f.place)
		}
		return true
	}
	back := t.state()
	fit := isUnset
	if f.unset == nil || f.unset.isZero || !t.isUnset(f.unset) {
		t.at, t.depth = back.at, back.depth
		if fit = t.fit(f); fit == isWritten && f.utf8Of != nil && t.isDerived(f, o, back.out) {
			t.out = t.out[:back.out]
		}
	}
	switch fit {
	case declined:
		return false
	case isWritten:
		if len(t.out) > back.out {
			t.segments = append(t.segments, segment{f.number, back.out})
		}
	case isEmptyList:
		o.empties.add(f.place)
	case isMisfit:
		t.goBack(back)
		if c := t.peek(); f.alternative != nil && (c == '[' || c == '{') {
			t.segments = append(t.segments, segment{f.alternative.number, back.out})
			return t.fit(f.alternative) == isWritten
		}
		t.extra = append(append(t.extra, ','), f.quoted...)
		return t.compact(&t.extra)
	}
	return true
}

type transcoderState struct{ at, depth, out, segments, extra, names int }

func (t *transcoder) state() transcoderState {
	return transcoderState{t.at, t.depth, len(t.out), len(t.segments), len(t.extra), len(t.names)}
}

func (t *transcoder) goBack(s transcoderState) {
	t.at, t.depth, t.out, t.segments = s.at, s.depth, t.out[:s.out], t.segments[:s.segments]
	t.extra, t.names = t.extra[:s.extra], t.names[:s.names]
}

// isUnset reads the value here if it is the one that an unset field stands for.
func (t *transcoder) isUnset(u *unset) bool {
	switch u.kind {
	case text:
		name, escaped, ok := t.string()
		return ok && (!escaped && string(name[1:len(name)-1]) == u.string ||
			escaped && unquote(name[1:len(name)-1]) == u.string)
	case trueWord:
		return t.word("true")
	case falseWord:
		return t.word("false")
	case array:
		return t.peek() == '[' && t.enter() && !t.any(']')
	case object:
		return t.peek() == '{' && t.enter() && !t.any('}')
	}
	return false
}

// isDerived reports whether bytes that were just written are the UTF-8 of the string next to them.
func (t *transcoder) isDerived(f *field, o *objectState, start int) bool {
	if !o.seen.has(f.utf8Place) {
		return false // dropDerived does that
	}
	return string(t.bytesAt(start, f.number)) == string(t.derivedFrom(f, o))
}

// bytesAt gives the contents of a field that begins there, of strings or bytes.
func (t *transcoder) bytesAt(start int, number protoreflect.FieldNumber) []byte {
	data, _ := protowire.ConsumeBytes(t.out[start+protowire.SizeTag(number):])
	return data
}

func (t *transcoder) derivedFrom(f *field, o *objectState) []byte {
	for _, s := range t.segments[o.first:] {
		if s.number == f.utf8Of.Number() {
			return t.bytesAt(s.start, s.number)
		}
	}
	return nil
}

// dropDerived takes away bytes that are the UTF-8 of a string that came after them.
func (t *transcoder) dropDerived(o *objectState) {
	for _, f := range o.mapped.derived {
		for i := o.first; i < len(t.segments); i++ {
			s := t.segments[i]
			if s.number != f.number || string(t.bytesAt(s.start, f.number)) != string(t.derivedFrom(f, o)) {
				continue
			}
			end := len(t.out)
			if i+1 < len(t.segments) {
				end = t.segments[i+1].start
			}
			t.out = append(t.out[:s.start], t.out[end:]...)
			t.segments = slices.Delete(t.segments, i, i+1)
			for j := i; j < len(t.segments); j++ {
				t.segments[j].start -= end - s.start
			}
			break
		}
	}
}

// residue appends what the typed fields cannot say.
func (t *transcoder) residue(o *objectState) {
	r := o.mapped.residue
	absent := o.mapped.standing.without(o.seen)
	hasExtra := len(t.extra) > o.extra
	if !hasExtra && o.nulls == (fieldSet{}) && absent == (fieldSet{}) && o.empties == (fieldSet{}) {
		return
	}
	t.segments = append(t.segments, segment{r.holder.Number(), len(t.out)})
	start := t.open(r.tag)
	for _, each := range []struct {
		desc   protoreflect.FieldDescriptor
		fields *fieldSet
	}{{r.nulls, &o.nulls}, {r.absent, &absent}, {r.empties, &o.empties}} {
		if *each.fields == (fieldSet{}) {
			continue
		}
		t.numbers = t.numbers[:0]
		for i, word := range each.fields {
			for ; word != 0; word &= word - 1 {
				place := i*64 + bits.TrailingZeros64(word)
				t.numbers = append(t.numbers, int(o.mapped.fields[place].number))
			}
		}
		slices.Sort(t.numbers)
		t.out = protowire.AppendTag(t.out, each.desc.Number(), protowire.BytesType)
		list := t.open(nil)
		for _, number := range t.numbers {
			t.out = protowire.AppendVarint(t.out, uint64(number))
		}
		t.close(list)
	}
	if hasExtra {
		members := t.extra[o.extra+1:] // behind the first comma
		t.out = protowire.AppendTag(t.out, r.extra.Number(), protowire.BytesType)
		t.out = protowire.AppendVarint(t.out, uint64(len(members))+2)
		t.out = append(append(append(t.out, '{'), members...), '}')
		t.extra = t.extra[:o.extra]
	}
	t.close(start)
}

// sort puts the fields of a message in the order of their numbers.
func (t *transcoder) sort(o *objectState) {
	segments := t.segments[o.first:]
	if slices.IsSortedFunc(segments, bySegment) {
		return
	}
	t.parts = t.parts[:0]
	for i, s := range segments {
		end := len(t.out)
		if i+1 < len(segments) {
			end = segments[i+1].start
		}
		t.parts = append(t.parts, part{s, end})
	}
	slices.SortFunc(t.parts, func(a, b part) int { return bySegment(a.segment, b.segment) })
	t.scratch = t.scratch[:0]
	for _, p := range t.parts {
		t.scratch = append(t.scratch, t.out[p.start:p.end]...)
	}
	copy(t.out[o.start:], t.scratch)
}

func bySegment(a, b segment) int { return int(a.number) - int(b.number) }

// open begins a field whose length is not known yet.
func (t *transcoder) open(tag []byte) int {
	t.out = append(append(t.out, tag...), 0)
	return len(t.out)
}

// close writes the length of the field that was begun.
func (t *transcoder) close(start int) {
	size := len(t.out) - start
	if size < 0x80 {
		t.out[start-1] = byte(size)
		return
	}
	more := protowire.SizeVarint(uint64(size)) - 1
	for range more {
		t.out = append(t.out, 0)
	}
	copy(t.out[start+more:], t.out[start:start+size])
	protowire.AppendVarint(t.out[:start-1], uint64(size))
}
